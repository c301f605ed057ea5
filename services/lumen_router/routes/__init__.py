"""Who serves what, and where: the table, and the file or cluster that it is made from."""
