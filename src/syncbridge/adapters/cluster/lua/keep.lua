#!lua
-- 1: the snapshot is kept, the later of two of one version; 0: it is of no log that is here.
-- KEYS  head snap snaps
-- ARGV  epoch  version  snapshot  mark
local head = redis.call('HMGET', KEYS[1], 'epoch', 'version')
if head[1] ~= ARGV[1] or (tonumber(head[2]) or 0) < tonumber(ARGV[2]) then return 0 end
redis.call('ZREMRANGEBYSCORE', KEYS[3], ARGV[2], ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[4])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
local ttl = redis.call('PTTL', KEYS[1])
if ttl > 0 then
  redis.call('PEXPIRE', KEYS[2], ttl)
  redis.call('PEXPIRE', KEYS[3], ttl)
end
return 1
