"""The way to Redis: one ordered, pipelined link, over whatever the servers do meanwhile."""
