# Judges a video from its files: lines of name, value, lowest and highest allowed, ok|low|high.
# Read after text.awk. Files: objectives.tsv, plan.tsv, voice.tsv, script.tsv, then other videos'
# taught.txt. Given by -v: sound (loudness, share of silence and longest silence, or nothing),
# risky (atoms of high risk, with commas), and the limits of the style guide: ease_min, seconds_min,
# seconds_max.

function keep(name, value, low, high) {
  printf "%s\t%s\t%s\t%s\t%s\n", name, value, low, high, \
    (value + 0 < low + 0 ? "low" : value + 0 > high + 0 ? "high" : "ok")
}

# Five words in a row, as they were used.
function shingles(text, into,  parts, n, i, key, count) {
  text = tolower(text); gsub(/[^a-z0-9 ]/, "", text)
  n = split(text, parts, " ")
  for (i = 1; i + 4 <= n; i++) {
    key = parts[i] " " parts[i + 1] " " parts[i + 2] " " parts[i + 3] " " parts[i + 4]
    if (!(key in into)) { into[key] = 1; count++ }
  }
  return count
}

BEGIN { FS = "\t" }
FILENAME ~ /objectives\.tsv$/ { goals++; terms[goals] = tolower($4); next }
FILENAME ~ /plan\.tsv$/ { planned += $4; next }
FILENAME ~ /voice\.tsv$/ { lasts += $4; speaks += $3; next }
FILENAME ~ /script\.tsv$/ {
  whole = whole " " $4
  words += count_words($4)
  if ($1 !~ /^(hook|objectives|recap|call)$/) taught = taught " " tolower($4)
  if ($1 == "safety") safe[$2] = 1
  next
}
FNR == 1 { other_end(); other = FILENAME; text = "" }
{ text = text " " $0 }

function other_end(  key, n, same) {
  if (other == "") return
  if (!own_count) own_count = shingles(taught, own)
  split("", theirs)
  shingles(text, theirs)
  for (key in theirs) if (key in own) same++
  if (own_count && same / own_count > most) { most = same / own_count; nearest = other }
}

# The share of the objectives' terms that the video explains: of all, and of the worst objective.
function coverage(  g, n, i, parts, said, hit, all, share) {
  worst = 1
  for (g = 1; g <= goals; g++) {
    n = split(terms[g], parts, /, */); said = 0
    for (i = 1; i <= n; i++) { all++; if (index(taught, parts[i])) { said++; hit++ } }
    share = n ? said / n : 1
    if (share < worst) worst = share
  }
  return all ? hit / all : 0
}

END {
  other_end()
  keep("readability", sprintf("%.1f", reading_ease(whole)), ease_min, 100)
  keep("words_a_sentence", sprintf("%.1f", words / count_sentences(whole)), 4, 18)
  keep("coverage", sprintf("%.3f", coverage()), 0.6, 1)
  keep("worst_objective", sprintf("%.3f", worst), 0.3, 1)
  keep("objectives", goals + 0, 2, 6)
  keep("seconds", sprintf("%.1f", lasts), seconds_min, seconds_max)
  keep("words_a_minute", sprintf("%.0f", (speaks > 0 ? words * 60 / speaks : 0)), 110, 190)
  keep("plan_kept", sprintf("%.3f", (planned > 0 ? lasts / planned : 0)), 0.7, 1.3)
  n = split(risky, parts, ",")
  for (i = 1; i <= n; i++) if (parts[i] != "" && !(parts[i] in safe)) unsafe++
  keep("risks_without_safety", unsafe + 0, 0, 0)
  keep("similar", sprintf("%.3f", most), 0, 0.65)
  if (split(sound, parts, " ") == 3) {
    keep("loudness_db", parts[1], -35, -10)
    keep("silence", parts[2], 0, 0.5)
    keep("longest_silence", parts[3], 0, 6)
  }
  if (nearest != "") print "nearest: " nearest > "/dev/stderr"
}
