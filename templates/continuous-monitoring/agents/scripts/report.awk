# What a day was like, as Markdown: of the access log, the measurements, the incidents and the
# history of releases. Given by -v: day.

FILENAME ~ /access-/ {
  if (NF != 6) next
  requests[$2]++; all++
  if ($5 >= 500) { errors[$2]++; failed++ }
  if (!($2 in seen)) { seen[$2] = 1; versions[++count] = $2 }
  next
}
FILENAME ~ /\.csv$/ {
  split($0, f, ",")
  if (f[1] == "id") next
  rows++
  note("cpu", f[3]); note("memory", f[6]); note("disk", f[8]); note("slowest twentieth (ms)", f[13])
  next
}
FILENAME ~ /log\.tsv$/ { split($0, f, "\t"); if (index(f[4], day) == 1) happened[++events] = f[4] " " f[2] ": " f[5]; next }
FILENAME ~ /history$/ { split($0, f, "\t"); if (index(f[2], day) == 1) happened[++events] = f[2] " live: " f[1] " (" f[3] ")"; next }

function note(name, value) {
  if (value < 0) return
  if (!(name in most)) names[++kinds] = name
  if (!(name in most) || value + 0 > most[name]) most[name] = value + 0
  sum[name] += value; measured[name]++
}

END {
  printf "# %s\n\n", day
  printf "%d requests, %d failed (%.2f %%).\n", all, failed, (all ? failed * 100 / all : 0)
  if (count) print "\n| Release | Requests | Failed |\n|---|--:|--:|"
  for (i = 1; i <= count; i++) printf "| %s | %d | %d |\n", versions[i], requests[versions[i]], errors[versions[i]]
  printf "\n%d measurements.\n", rows
  if (kinds) print "\n| | Mean | Most |\n|---|--:|--:|"
  for (i = 1; i <= kinds; i++)
    printf "| %s | %.1f | %.1f |\n", names[i], sum[names[i]] / measured[names[i]], most[names[i]]
  print "\n## What happened\n"
  if (!events) print "Nothing."
  for (i = 2; i <= events; i++) {
    held = happened[i]
    for (k = i - 1; k >= 1 && happened[k] > held; k--) happened[k + 1] = happened[k]
    happened[k + 1] = held
  }
  for (i = 1; i <= events; i++) print "- " happened[i]
}
