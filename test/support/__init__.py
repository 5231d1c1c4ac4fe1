"""What the tests share: a server process, a clock that tests turn by hand, a service without sockets."""
