# The report of the analytics: from published videos, counts (audience.awk), winners and flags.
# Read after statistics.awk. Prints Markdown; writes recommendations, one a line, to the file `advice`.

BEGIN { FS = "\t" }
FILENAME ~ /published\.tsv$/ { format[$1] = $3; area[$1] = $6; next }
FILENAME ~ /winners\.tsv$/ { tests++; won[$3]++; winners[++winner_count] = $1 FS $2 FS $3 FS $4 FS $5; next }
FILENAME ~ /flags\.tsv$/ { flags[++flag_count] = $0; next }
{
  lines++
  if ($3 == "model") modelled++
  add("style", $5); add("format", format[$1]); add("area", area[$1])
  all_shown += $6; all_clicks += $7; all_watched += $8
  if (!($1 in known)) { known[$1] = 1; videos++ }
}

function add(kind, name) {
  if (name == "") return
  if (!((kind, name) in shown)) names[kind, ++count[kind]] = name
  shown[kind, name] += $6; clicks[kind, name] += $7; watched[kind, name] += $8
}

function percent(a, b) { return sprintf("%.2f %%", b > 0 ? a * 100 / b : 0) }

function table(kind,  i, n) {
  printf "\n## By %s\n\n| %s | Impressions | Clicks | Click rate |\n|---|--:|--:|--:|\n", kind, kind
  for (i = 1; i <= count[kind]; i++) {
    n = names[kind, i]
    printf "| %s | %d | %d | %s |\n", n, shown[kind, n], clicks[kind, n], \
      percent(clicks[kind, n], shown[kind, n])
  }
}

# The best and the worst of a kind, if they differ by more than chance.
function advise(kind, text,  i, n, best, worst, z, p) {
  for (i = 1; i <= count[kind]; i++) {
    n = names[kind, i]
    if (best == "" || rate(kind, n) > rate(kind, best)) best = n
    if (worst == "" || rate(kind, n) < rate(kind, worst)) worst = n
  }
  if (best == worst || best == "") return
  z = z_of(clicks[kind, best], shown[kind, best], clicks[kind, worst], shown[kind, worst])
  p = normal_tail(z)
  if (p < 0.01)
    printf "%s %s: %s of those who saw it clicked, %s of those who saw %s (z = %.1f).\n", text, best,
      percent(clicks[kind, best], shown[kind, best]), percent(clicks[kind, worst], \
      shown[kind, worst]), worst, z > advice
}

function rate(kind, n) { return shown[kind, n] > 0 ? clicks[kind, n] / shown[kind, n] : 0 }

END {
  printf "# Analytics\n\nAs of %s.\n\n", now
  if (modelled)
    printf "**%s of these numbers come from a model of an audience, not from viewers.** %s\n\n", \
      (modelled == lines ? "All" : "Some"), "README.md says how to give real ones."
  printf "%d videos, %d impressions, %d clicks (%s), %d hours watched.\n", videos, all_shown,
    all_clicks, percent(all_clicks, all_shown), all_watched / 3600
  table("style"); table("format"); table("area")
  printf "\n## Tests of variants\n\n%d are over.", tests
  for (s in won) printf " %s: %d.", (s == "none" ? "no winner" : s), won[s]
  print "\n"
  for (i = (winner_count > 20 ? winner_count - 19 : 1); i <= winner_count; i++) {
    split(winners[i], w, FS)
    printf "- %s: %s (z = %s, p = %s)\n", w[1], (w[3] == "none" ? "no winner, A stays" : w[2] ", " w[3]), \
      w[4], w[5]
  }
  print "\n## Underperforming\n"
  if (!flag_count) print "None."
  for (i = 1; i <= flag_count; i++) {
    split(flags[i], f, FS)
    printf "- %s: %d views; the median of its age is %d (%s)\n", f[1], f[2], f[3], f[4]
    if (i <= 5)
      printf "Give %s another thumbnail: it has %d views where %d are usual.\n", f[1], f[2], f[3] > advice
  }
  advise("style", "Prefer titles in style")
  advise("format", "Make more of")
  close(advice)
  print "\n## Recommendations\n"
  while ((getline line < advice) > 0) { print "- " line; advised++ }
  if (!advised) print "None: no difference is larger than chance."
}
