"""Services: what the front and the hosts are made of, one responsibility a file."""
