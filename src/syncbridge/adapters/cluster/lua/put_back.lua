#!lua
-- What was lost of a log stands there again: {1, version}; {3} where another log does; {0} where it was deleted.
-- Appended to what is a prefix of it, judged by the entry at the store's head, or by when that was committed where it
-- is the one before all that are held; made anew where no head is, and where the store fell back behind that one, too,
-- so that nothing can be compared.
-- KEYS  head log snap snaps gone damaged
-- ARGV  1 epoch  2 account  3 at  4 kept  5 ttl_ms  6 waiting  7 version  8 snapshot  9 mark
--       10 the version before the first entry  11 when it was committed, 0 unknown; then each entry's txn, seal, body
local head = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'at')
local version, before = tonumber(ARGV[7]), tonumber(ARGV[10])
local stands = before
if head[1] then
  if head[1] ~= ARGV[1] then return {3} end
  stands = tonumber(head[2]) or 0
  local known = math.min(stands, version)
  if known > before then
    local id = string.format('%.0f-0', known)
    local entry = redis.call('XRANGE', KEYS[2], id, id)[1]
    if entry then
      local at, fields = 9 + 3 * (known - before), entry[2]
      local is_same = fields[6] == ARGV[at + 2]
      if ARGV[at] ~= '' and fields[2] ~= '' then is_same = fields[2] == ARGV[at] end
      if not is_same then return {3} end
    end
  elseif stands == before and ARGV[11] ~= '0' and head[3] ~= ARGV[11] then
    return {3}
  end
  if stands >= version then return {1, stands} end
else
  if redis.call('EXISTS', KEYS[5]) == 1 then return {0} end
end
if not head[1] or stands < before then
  redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
  stands = before
end
for entry = stands + 1, version do
  local at = 9 + 3 * (entry - before)
  redis.call('XADD', KEYS[2], string.format('%.0f-0', entry), 't', ARGV[at], 's', ARGV[at + 1], 'b', ARGV[at + 2])
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  -- A log that nothing is held of but its state: an empty stream that goes on after it.
  redis.call('XADD', KEYS[2], ARGV[7] .. '-0', 't', '')
  redis.call('XTRIM', KEYS[2], 'MAXLEN', '=', 0)
end
redis.call('HSET', KEYS[3], ARGV[7], ARGV[8])
redis.call('ZREMRANGEBYSCORE', KEYS[4], ARGV[7], ARGV[7])
redis.call('ZADD', KEYS[4], ARGV[7], ARGV[9])
if ARGV[6] ~= '' and redis.call('HGET', KEYS[1], 'waiting') ~= ARGV[6] then
  -- As commit.lua: what is left of it after the newest entry, which is all that is known of its age.
  local time = redis.call('TIME')
  local ends = time[1] * 1000 + math.floor(time[2] / 1000) + string.match(ARGV[6], '^%d+') - ARGV[3]
  redis.call('HSET', KEYS[1], 'ends', string.format('%.0f', ends))
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'account', ARGV[2], 'version', ARGV[7], 'at', ARGV[3], 'kept', ARGV[4],
  'waiting', ARGV[6], 'written', redis.call('TIME')[1])
for key = 1, 4 do redis.call('PEXPIRE', KEYS[key], ARGV[5]) end
redis.call('DEL', KEYS[6])
return {1, version}
