"""The tables of Honari et al. (CVPR 2016), trained again and compared with the published errors."""
