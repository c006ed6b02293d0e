#!lua
-- The offer is found when its device says hello. Those long expired are gone: clocks may differ by two days.
-- KEYS  offers
-- ARGV  member  until  a time before which nothing waits  how long the index is kept, in ms
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return 1
