"""The leaderboard as a static site: pages work without JavaScript, from a folder, and load nothing from other hosts.

index.html                          one line for each table
<table>.html                        one protocol: charts, ranked entries, published rows
entry/<id>.html                     one entry: provenance, configuration, keypoints, commands to reproduce it
config/<hash>.yaml                  training configuration, for `rcn-search train`
leaderboard.json, leaderboard.csv   all rows, for programs
"""
