#!lua
-- A transaction is in the log, all of it or nothing: compare, tell a repeat, compare the claims, append, publish.
-- KEYS  head log snap snaps gone [outbox changed]
-- ARGV  1 epoch  2 expected  3 txn  4 at  5 status  6 waiting_for  7 waiting_until  8 ttl_ms  9 kept
--       10 entries  11 held  12 claims  13 channel  14 message  15 snapshot  16 mark  17 session ('' where nobody is told)
--       18 account; then each entry's digest, checksum, body; each held device and connection; each claim; the facts
-- Says  1 committed; {2, version} behind the head; {3} another log; {4, device...} fenced;
--       {5, version} the head is before `expected`; {6, reason} the log is not as it was written
-- Cost  O(what is written). What can fail is done first, so that nothing is written by halves.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'kept')
if not head[1] then
  if redis.call('EXISTS', KEYS[5]) == 1 then return {3} end
  return {5, 0}
end
if head[1] ~= ARGV[1] then return {3} end
local version, expected, count = tonumber(head[2]), tonumber(ARGV[2]), tonumber(ARGV[10])
if not version then return {6, 'the head names no version'} end
if expected > version then return {5, version} end

if expected < version and count > 0 then
  local id = string.format('%.0f-0', expected + 1)
  local stands = redis.call('XRANGE', KEYS[2], id, id)[1]
  if stands and stands[2][2] == ARGV[3] then return 1 end
end

local place = 19 + 3 * count
local last_held = place + 2 * tonumber(ARGV[11])
local last_claim = last_held + 2 * tonumber(ARGV[12])
local claims, fenced = {}, {4}
for held = place, last_held - 1, 2 do
  local by = redis.call('HGET', KEYS[1], 'by:' .. ARGV[held])
  if not by then
    -- The claims were lost with a server: whoever pushes first has them.
    claims[#claims + 1] = 'by:' .. ARGV[held]
    claims[#claims + 1] = ARGV[held + 1]
  elseif by ~= ARGV[held + 1] then
    fenced[#fenced + 1] = ARGV[held]
  end
end
if #fenced > 1 then return fenced end
if expected < version then return {2, version} end

for entry = 1, count do
  local at = 16 + 3 * entry
  local id = string.format('%.0f-0', expected + entry)
  local added = redis.pcall('XADD', KEYS[2], 'NOMKSTREAM', id, 't', ARGV[3], 'd', ARGV[at], 'c', ARGV[at + 1],
    'b', ARGV[at + 2])
  if not added then return {6, 'the head has no log'} end
  if added.err then return {6, added.err} end
end
for claim = last_held, last_claim - 1, 2 do
  claims[#claims + 1] = 'by:' .. ARGV[claim]
  claims[#claims + 1] = ARGV[claim + 1]
end
if #claims > 0 then redis.call('HSET', KEYS[1], unpack(claims)) end
if count == 0 then return 1 end

local last = string.format('%.0f', expected + count)
redis.call('HSET', KEYS[1], 'version', last, 'at', ARGV[4], 'status', ARGV[5], 'waiting_for', ARGV[6],
  'waiting_until', ARGV[7], 'kept', ARGV[9])
if ARGV[15] ~= '' then
  -- Derived from the entries: one that cannot be kept costs a longer replay, not the commit.
  redis.pcall('HSET', KEYS[3], last, ARGV[15])
  redis.pcall('ZREMRANGEBYSCORE', KEYS[4], last, last)
  redis.pcall('ZADD', KEYS[4], last, ARGV[16])
end
if head[3] ~= ARGV[9] then
  for key = 1, 4 do redis.call('PEXPIRE', KEYS[key], ARGV[8]) end
end
if ARGV[14] ~= '' then redis.call('SPUBLISH', ARGV[13], ARGV[14]) end
for fact = last_claim, #ARGV do redis.call('XADD', KEYS[6], '*', 'f', ARGV[fact]) end
if ARGV[17] ~= '' then
  local first, since = string.format('%.0f', expected + 1), ARGV[4]
  local told = redis.call('HGET', KEYS[7], ARGV[17])
  if told then
    local told_first, told_since, told_epoch = string.match(told, '^(%d+) %d+ (%d+) %d+ (%S+) ')
    if told_epoch == ARGV[1] then first, since = told_first, told_since end
  end
  redis.call('HSET', KEYS[7], ARGV[17], table.concat({first, last, since, ARGV[4], ARGV[1], ARGV[18]}, ' '))
end
return 1
