# What the channel has not covered: from the knowledge atoms (id, area, risk, requires), the videos
# made (video, format, atoms), those given up (video), and the calendar. Writes gaps.tsv (topic and
# how much it would close) and gaps.md into the folder `out`; prints one line of figures.
#
# An atom counts as covered when a video about it was approved. What a topic would close: three for
# each of its atoms that no video has, one for each that has fewer formats than half of them, two
# when one of its videos was given up.

FILENAME ~ /atoms\.tsv$/ {
  atom[++atoms] = $1; area[$1] = $2; risk[$1] = $3; requires[$1] = $4; known[$1] = 1
  if (!($2 in in_area)) areas[++area_count] = $2
  in_area[$2]++
  next
}
FILENAME ~ /made\.tsv$/ {
  videos++
  parts = split($3, list, ",")
  for (i = 1; i <= parts; i++) {
    made[list[i]]++
    if (!((list[i], $2) in seen)) { seen[list[i], $2] = 1; formats[list[i]]++ }
  }
  next
}
FILENAME ~ /given-up\.txt$/ { given[++given_count] = $1; next }
/^#/ { next }
{
  topic[++topics] = $1; slug[$1] = $2; title[$1] = $3; of[$1] = $6
}

END {
  for (t = 1; t <= topics; t++) {
    no = topic[t]; close_count = 0
    parts = split(of[no], list, ",")
    for (i = 1; i <= parts; i++) {
      if (!(list[i] in known)) { unknown[list[i]] = title[no]; continue }
      if (!(list[i] in made)) close_count += 3
      else if (formats[list[i]] < 3) close_count += 1
    }
    for (g = 1; g <= given_count; g++)
      if (index(given[g], "-" slug[no] "-") == 11) { close_count += 2; break }
    priority[no] = close_count
    print no "\t" close_count > (out "/gaps.tsv")
  }
  for (a = 1; a <= atoms; a++) {
    id = atom[a]
    if (id in made) { covered++; covered_in[area[id]]++ }
    else uncovered[++missing] = id
    parts = split(requires[id], list, ",")
    for (i = 1; i <= parts; i++)
      if (list[i] != "none" && list[i] != "" && !(list[i] in known)) unknown[list[i]] = id
  }
  report()
  for (u in unknown) unknown_count++
  printf "%d\t%d\t%d\t%d\t%d\t%d\n", atoms, covered, missing, unknown_count, given_count, best()
}

# The topic that closes most, the first of several.
function best(  t, no, most) {
  no = topic[1]; most = -1
  for (t = 1; t <= topics; t++)
    if (priority[topic[t]] > most) { most = priority[topic[t]]; no = topic[t] }
  return no
}

function report(  file, a, i, u, t, shown) {
  file = out "/gaps.md"
  printf "%d videos cover %d of %d knowledge atoms.\n\n", videos, covered, atoms > file
  print "| Area | Atoms | Covered |\n|---|--:|--:|" > file
  for (a = 1; a <= area_count; a++)
    printf "| %s | %d | %d |\n", areas[a], in_area[areas[a]], covered_in[areas[a]] > file
  if (missing) {
    print "\n## Not covered yet\n" > file
    for (i = 1; i <= missing; i++)
      printf "- %s (%s%s)\n", uncovered[i], area[uncovered[i]],
        (risk[uncovered[i]] == "high" ? ", high risk" : "") > file
  }
  shown = 0
  for (u in unknown) {
    if (!shown++) print "\n## Named, but not in the knowledge base\n" > file
    printf "- %s, needed by %s\n", u, unknown[u] > file
  }
  if (given_count) {
    print "\n## Given up\n" > file
    for (i = 1; i <= given_count; i++) print "- " given[i] > file
  }
  print "\n## What to make first in the next cycle\n" > file
  print "| Topic | Closes |\n|---|--:|" > file
  for (i = 1; i <= 10 && i <= topics; i++) {
    t = 0
    for (a = 1; a <= topics; a++)
      if (!(topic[a] in listed) && (!t || priority[topic[a]] > priority[t])) t = topic[a]
    listed[t] = 1
    printf "| %s | %d |\n", title[t], priority[t] > file
  }
  close(file)
}
