"""What a packet costs. Run by hand (`make bench`), never by `make test`."""
