-- Where a session's log ends, and who follows it at which node.
--
-- KEYS  the session's head, its presence
-- Gives epoch, version, then node and statement in turn. The version is '0' where there is no log, '-1' where the head
-- cannot be read; a presence that cannot be read is empty.
local head = redis.pcall('HMGET', KEYS[1], 'epoch', 'version')
local answer = head.err and { '', '-1' } or { head[1] or '', head[2] or '0' }
local who = redis.pcall('HGETALL', KEYS[2])
if not who.err then
  for place = 1, #who do
    answer[place + 2] = who[place]
  end
end
return answer
