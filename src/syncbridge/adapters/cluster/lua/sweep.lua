#!lua flags=allow-oom
-- The session is erased where it is past its time: {1, status, account}; {2, due} where it is not; {0}
-- where there is none. It is, where both say so: the time of its newest entry by the clock of the node that asks, and
-- when it was written by this server's, as far as a commit each hour tells. So no node's clock alone ends a session.
-- KEYS  gone head damaged, then everything else
-- ARGV  now  how long a deletion is known  how long what is damaged is kept  how long by default
--       then each other status and how long
local head = redis.call('HMGET', KEYS[2], 'at', 'kept', 'account', 'written')
local since, status, kept = head[1], string.match(head[2] or '', '%S+$') or '', ARGV[4]
if not since then
  since, status, kept = redis.call('GET', KEYS[3]), 'damaged', ARGV[3]
  if not since then return {0} end
end
for rule = 5, #ARGV, 2 do
  if ARGV[rule] == status then kept = ARGV[rule + 1] end
end
local due = (tonumber(since) or 0) + tonumber(kept)
local now = tonumber(ARGV[1])
if tonumber(head[4]) then
  local left = tonumber(kept) - (redis.call('TIME')[1] - head[4]) * 1000
  if left > 0 then due = math.max(due, now + left) end
end
if due > now then return {2, string.format('%.0f', due)} end
redis.call('SET', KEYS[1], '1', 'PX', ARGV[2])
for key = 2, #KEYS do redis.call('UNLINK', KEYS[key]) end
return {1, status, head[3] or ''}
