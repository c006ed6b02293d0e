#!lua flags=no-writes
-- Whose session it is, for whom an offer waits there, and for how many ms yet: {account, device, left}; each is '' where
-- there is none. By this server's clock; `left` is '' too where it was not told when the offer came.
-- KEYS  head
local head = redis.call('HMGET', KEYS[1], 'account', 'waiting', 'ends')
local left, time = '', redis.call('TIME')
if tonumber(head[3]) then
  left = string.format('%.0f', math.max(0, head[3] - time[1] * 1000 - math.floor(time[2] / 1000)))
end
return {head[1] or '', string.match(head[2] or '', '^%d+ (.*)$') or '', left}
