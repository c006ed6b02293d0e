#!lua
-- A new session has its log: 1, also when the same one was made before; {3} where another stands under the id.
-- KEYS  head log snap snaps gone damaged [outbox]
-- ARGV  epoch account at kept ttl_ms seal body snapshot mark, then the facts
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch then
  if epoch == ARGV[1] then return 1 end
  return {3}
end
if redis.call('EXISTS', KEYS[6]) == 1 then return {3} end

-- Without a head there is no log: what is left of one (an eviction, an expiry) must not be gone on with.
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
redis.call('XADD', KEYS[2], '1-0', 't', 'create', 's', ARGV[6], 'b', ARGV[7])
redis.call('HSET', KEYS[3], '1', ARGV[8])
redis.call('ZADD', KEYS[4], '1', ARGV[9])
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'account', ARGV[2], 'version', '1', 'at', ARGV[3], 'kept', ARGV[4],
  'waiting', '', 'written', redis.call('TIME')[1])
for key = 1, 4 do redis.call('PEXPIRE', KEYS[key], ARGV[5]) end
for fact = 10, #ARGV do redis.call('XADD', KEYS[7], '*', 'f', ARGV[fact]) end
return 1
