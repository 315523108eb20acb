"""The leaderboard as a static site: pages that read without JavaScript, open from a folder, and ask no other host.

index.html              every table of the leaderboard in one line each
<table>.html            one protocol: charts, measured rows with ranks, published rows apart from them
entry/<id>.html         one entry: provenance, configuration, points, and how to run it again
config/<hash>.yaml      what `rcn-search train` takes
leaderboard.json, leaderboard.csv   the same for programs
"""
