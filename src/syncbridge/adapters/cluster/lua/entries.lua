#!lua flags=no-writes
-- Some of a log: {epoch, version, oldest, entries}; nil where there is none. The answer is bounded, and never empty
-- where there is an entry: whoever wants more asks again after the last.
-- KEYS  head log snaps
-- ARGV  after  until ('' the head)  count_max  bytes_max  'told' (not before the oldest state) or 'all'
local head = redis.call('HMGET', KEYS[1], 'epoch', 'version')
if not head[1] then return false end
local oldest = string.match(redis.call('ZRANGE', KEYS[3], 0, 0)[1] or '', '^%d+') or ''
local after, last = tonumber(ARGV[1]), tonumber(head[2]) or 0
local count_max, bytes_max = tonumber(ARGV[3]), tonumber(ARGV[4])
local begins = tonumber(oldest) or 0
if ARGV[5] == 'told' and begins > 1 and after < begins then after = begins end
if ARGV[2] ~= '' and tonumber(ARGV[2]) < last then last = tonumber(ARGV[2]) end
local found, size = {}, 0
while after < last and #found < count_max and size < bytes_max do
  local part = redis.call('XRANGE', KEYS[2], string.format('%.0f', after + 1), string.format('%.0f', last),
    'COUNT', math.min(32, count_max - #found))
  if #part == 0 then break end
  for _, entry in ipairs(part) do
    for field = 2, #entry[2], 2 do size = size + #entry[2][field] end
    if size > bytes_max and #found > 0 then break end
    found[#found + 1] = entry
    after = tonumber(string.match(entry[1], '^%d+'))
  end
end
return {head[1], head[2] or '', oldest, found}
