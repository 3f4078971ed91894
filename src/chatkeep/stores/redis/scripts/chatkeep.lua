#!lua name=chatkeep_1

-- Processes of the release before call these functions while this one is rolled out: once released, what a function
-- takes or returns changes only together with the name of the library.

-- Changes some keys of one scope IF fields of hashes are as they were read; returns 1, or 0 and nothing is done.
-- Arguments: how many comparisons; for each the number of its key, the field, and the value ('' for none); then the
-- commands, for each how many arguments it has behind its key, its name, the number of its key, and these arguments.
local function commit(keys, args)
  local at = 2
  for _ = 1, tonumber(args[1]) do
    local found = redis.call('HGET', keys[tonumber(args[at])], args[at + 1])
    if (found or '') ~= args[at + 2] then
      return 0
    end
    at = at + 3
  end
  while at <= #args do
    local count = tonumber(args[at])
    redis.call(args[at + 1], keys[tonumber(args[at + 2])], unpack(args, at + 3, at + 2 + count))
    at = at + 3 + count
  end
  return 1
end

local function entry_id(seq)
  return string.format('%.0f', seq) .. '-0'
end

-- What was changed of the messages low..high: for each its redacted row and its feedback, or nil; empty if none was.
local function overlay(key, low, high)
  if high < low or redis.call('EXISTS', key) == 0 then
    return {}
  end
  local fields = {}
  for seq = low, high do
    local name = string.format('%.0f', seq)
    fields[#fields + 1] = 'r' .. name
    fields[#fields + 1] = 'f' .. name
  end
  return redis.call('HMGET', key, unpack(fields))
end

local function part(keys, low, high)
  return { low, high, redis.call('XRANGE', keys[2], entry_id(low), entry_id(high)), overlay(keys[3], low, high) }
end

-- Reads a record and messages of one moment. Keys: session, messages, overlay. Arguments: the seqs low and high, how
-- many, whether the newest count ('1'), whether those of all branches ('1'), and the mark of the record that the caller
-- knows. Returns the record, empty if it is that one, its mark, and the messages: a part, empty if there are none, or
-- nothing if there are branches and the path is asked for. Returns nil if there is no session.
local function read(keys, args)
  local found = redis.call('HMGET', keys[1], 'rec', 'first', 'last', 'head', 'jumps', 'v')
  if not found[1] then
    return false
  end
  local record = found[6] == args[6] and '' or found[1]
  local all = args[5] == '1'
  if found[5] ~= '[]' and not all then
    return { record, found[6] }
  end
  local low = math.max(tonumber(args[1]), tonumber(found[2]))
  local high = math.min(tonumber(args[2]), tonumber(all and found[3] or found[4]))
  local limit = tonumber(args[3])
  if high - low >= limit then
    if args[4] == '1' then
      low = high - limit + 1
    else
      high = low + limit - 1
    end
  end
  if high < low then
    return { record, found[6], {} }
  end
  return { record, found[6], part(keys, low, high) }
end

-- Reads ranges of messages of the session as it was read. Keys as above. Arguments: its mark, then low and high of each.
local function ranges(keys, args)
  if redis.call('HGET', keys[1], 'v') ~= args[1] then
    return false
  end
  local found = {}
  for at = 2, #args, 2 do
    found[#found + 1] = part(keys, tonumber(args[at]), tonumber(args[at + 1]))
  end
  return found
end

-- Reads the first records of several lists of one scope, as of one moment. Keys: the lists. Arguments: how many, what
-- comes before the id in a session's key, then for each list where to begin. Returns for each the places and records.
local function page(keys, args)
  local found = {}
  for at, list in ipairs(keys) do
    local places = redis.call('ZRANGE', list, args[at + 2], '-', 'BYLEX', 'REV', 'LIMIT', 0, args[1])
    local rows = {}
    for _, place in ipairs(places) do
      rows[#rows + 1] = place
      rows[#rows + 1] = redis.call('HGET', args[2] .. string.sub(place, 9), 'rec')
    end
    found[at] = rows
  end
  return found
end

-- Notes that a scope has been written to. Keys: the names in order, and when each was noted last. Arguments: name, time.
local function note_scope(keys, args)
  redis.call('HSET', keys[2], args[1], args[2])
  return redis.call('ZADD', keys[1], 0, args[1])
end

-- Forgets a scope that was not noted since. Keys as above. Arguments: name, the time that was read.
local function forget_scope(keys, args)
  if redis.call('HGET', keys[2], args[1]) ~= args[2] then
    return 0
  end
  redis.call('HDEL', keys[2], args[1])
  return redis.call('ZREM', keys[1], args[1])
end

-- Dates a note anew, or removes it, if it was not dated anew since it was read. Key: the notes. Arguments: the note, the
-- date that was read, and the new one ('' to remove it).
local function settle_note(keys, args)
  if redis.call('ZSCORE', keys[1], args[1]) ~= args[2] then
    return 0
  end
  if args[3] == '' then
    return redis.call('ZREM', keys[1], args[1])
  end
  return redis.call('ZADD', keys[1], args[3], args[1])
end

redis.register_function('chatkeep_1_commit', commit)
redis.register_function{function_name = 'chatkeep_1_read', callback = read, flags = {'no-writes'}}
redis.register_function{function_name = 'chatkeep_1_ranges', callback = ranges, flags = {'no-writes'}}
redis.register_function{function_name = 'chatkeep_1_page', callback = page, flags = {'no-writes'}}
redis.register_function('chatkeep_1_note_scope', note_scope)
redis.register_function('chatkeep_1_forget_scope', forget_scope)
redis.register_function('chatkeep_1_settle_note', settle_note)
