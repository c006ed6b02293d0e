#!lua
-- The session is in the index over all of them, to be looked at when its time may be over.
-- KEYS  all due
-- ARGV  session  due
redis.call('ZADD', KEYS[1], 0, ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
return 1
