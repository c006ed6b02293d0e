-- A node's statement of who follows a session there stands, unless a newer one of it does; and it is said.
--
-- KEYS  the session's presence, its channel, that it was deleted
-- ARGV  node, the statement's number, its frame, ms to live
-- Gives 1, or 0 where a newer one stands: a write that a frozen server kept back comes after the one that followed it.
-- Of a session that was deleted nothing stands any more, however late a node hears of it: 1, for it needs no repeat.
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('UNLINK', KEYS[1])
  return 1
end
local stands = redis.pcall('HGET', KEYS[1], ARGV[1])
if type(stands) == 'table' then -- not a hash: whatever it is, presence is said anew by every node that has any
  redis.call('DEL', KEYS[1])
elseif stands and tonumber(string.match(stands, '^%d+') or 0) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('SPUBLISH', KEYS[2], ARGV[3])
return 1
