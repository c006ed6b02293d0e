#!lua flags=no-writes
-- Where a replay begins: {epoch, version, account, at, base, snapshot, newest, left}; nil where there is no log.
-- `snapshot` is the newest at or before the version (or the oldest there is), at `base`; `newest` {version, snapshot}
-- of the newest of all, where that is another and asked for. `left` is for how many ms the offer waits yet that does.
-- Each is '' where it is not there.
-- KEYS  head snap snaps
-- ARGV  'reach' or 'version', and which
local head = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'account', 'at', 'waiting', 'ends')
if not head[1] then return false end
for field = 2, 4 do head[field] = head[field] or '' end
local version = tonumber(ARGV[2])
if ARGV[1] == 'reach' then version = (tonumber(head[2]) or 0) - version end
local found = redis.call('ZREVRANGEBYSCORE', KEYS[3], string.format('%.0f', version), '-inf', 'LIMIT', 0, 1)[1]
found = found or redis.call('ZRANGE', KEYS[3], 0, 0)[1] or ''
local base = string.match(found, '^%d+') or ''
local newest = string.match(redis.call('ZRANGE', KEYS[3], -1, -1)[1] or '', '^%d+') or ''
local other = {'', ''}
if ARGV[1] == 'reach' and newest ~= base then other = {newest, redis.call('HGET', KEYS[2], newest) or ''} end
local left = ''
if head[5] and head[5] ~= '' and tonumber(head[6]) then
  local time = redis.call('TIME')
  left = string.format('%.0f', math.max(0, head[6] - time[1] * 1000 - math.floor(time[2] / 1000)))
end
return {head[1], head[2], head[3], head[4], base, redis.call('HGET', KEYS[2], base) or '', other, left}
