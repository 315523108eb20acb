"""Reports and exports of studies; nothing here changes a study."""
