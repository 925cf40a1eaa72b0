"""The long run (`make soak`): 50 kills and more, an unclean election, fetching from a follower; writes docs/soak.md."""
