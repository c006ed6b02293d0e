#!lua
-- A transaction is in the log, all of it or nothing: compare, tell a repeat, compare the claims, append, publish.
-- KEYS  head log snap snaps gone [outbox changed]
-- ARGV  1 epoch  2 expected  3 txn  4 at  5 kept (hour and status)  6 ttl_ms  7 waiting (until and device)  8 message
--       9 shape: how many entries, held and claims, 1 with a snapshot, 1 where a broker is told
--       10 when the entry at `expected` was committed (0: not known); then each entry's seal and body;
--       each held device and connection; each claim; the snapshot and its mark; session and account; the facts
-- Says  1 committed; {2, version} behind the head; {3} another log; {4, device...} fenced;
--       {5, version} the head is before `expected`; {6, reason} the log is not as it was written
-- Cost  O(what is written). What can fail is done first, so that nothing is written by halves.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'kept', 'at')
if not head[1] then
  if redis.call('EXISTS', KEYS[5]) == 1 then return {3} end
  return {5, 0}
end
if head[1] ~= ARGV[1] then return {3} end
local version, expected = tonumber(head[2]), tonumber(ARGV[2])
if not version then return {6, 'the head names no version'} end
if expected > version then return {5, version} end
-- After a loss another entry may stand there: what was made on the lost one must not follow it. (Of an entry before
-- the head the same is asked by whoever is told what came since.)
if expected == version and ARGV[10] ~= '0' and head[4] ~= ARGV[10] then return {3} end

local count, held_count, claim_count, has_snapshot, is_told = string.match(ARGV[9], '(%d+) (%d+) (%d+) (%d) (%d)')
count = tonumber(count)
if expected < version and count > 0 then
  local id = string.format('%.0f-0', expected + 1)
  local stands = redis.call('XRANGE', KEYS[2], id, id)[1]
  if stands and stands[2][2] == ARGV[3] then return 1 end
end

local place = 11 + 2 * count
local last_held = place + 2 * held_count
local last_claim = last_held + 2 * claim_count
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
  local id = string.format('%.0f-0', expected + entry)
  local added = redis.pcall('XADD', KEYS[2], 'NOMKSTREAM', id, 't', ARGV[3], 's', ARGV[9 + 2 * entry],
    'b', ARGV[10 + 2 * entry])
  if not added then return {6, 'the head has no log'} end
  if added.err then return {6, added.err} end
end
for claim = last_held, last_claim - 1, 2 do
  claims[#claims + 1] = 'by:' .. ARGV[claim]
  claims[#claims + 1] = ARGV[claim + 1]
end
if #claims > 0 then redis.call('HSET', KEYS[1], unpack(claims)) end
if count == 0 then return 1 end

if ARGV[7] ~= '' and redis.call('HGET', KEYS[1], 'waiting') ~= ARGV[7] then
  -- By this server's clock, for how long it was made: that of the node may be another's.
  local time = redis.call('TIME')
  local ends = time[1] * 1000 + math.floor(time[2] / 1000) + string.match(ARGV[7], '^%d+') - ARGV[4]
  redis.call('HSET', KEYS[1], 'ends', string.format('%.0f', ends))
end
local last = string.format('%.0f', expected + count)
redis.call('HSET', KEYS[1], 'version', last, 'at', ARGV[4], 'kept', ARGV[5], 'waiting', ARGV[7])
place = last_claim
if has_snapshot == '1' then
  -- Derived from the entries: one that cannot be kept costs a longer replay, not the commit.
  redis.pcall('HSET', KEYS[3], last, ARGV[place])
  redis.pcall('ZREMRANGEBYSCORE', KEYS[4], last, last)
  redis.pcall('ZADD', KEYS[4], last, ARGV[place + 1])
  place = place + 2
end
if head[3] ~= ARGV[5] then
  -- By this server's clock: one of a node that is days behind must not make a log look old that is written now.
  redis.call('HSET', KEYS[1], 'written', redis.call('TIME')[1])
  for key = 1, 4 do redis.call('PEXPIRE', KEYS[key], ARGV[6]) end
end
-- The session's channel is what its keys begin with.
redis.call('SPUBLISH', string.sub(KEYS[1], 1, -6), ARGV[8])
if is_told == '1' then
  local session, first, since = ARGV[place], string.format('%.0f', expected + 1), ARGV[4]
  local told = redis.call('HGET', KEYS[7], session)
  if told then
    local told_first, told_since, told_epoch = string.match(told, '^(%d+) %d+ (%d+) %d+ (%S+) ')
    if told_epoch == ARGV[1] then first, since = told_first, told_since end
  end
  redis.call('HSET', KEYS[7], session, table.concat({first, last, since, ARGV[4], ARGV[1], ARGV[place + 1]}, ' '))
  for fact = place + 2, #ARGV do redis.call('XADD', KEYS[6], '*', 'f', ARGV[fact]) end
end
return 1
