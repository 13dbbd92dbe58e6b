# Which variant won: of lines from audience.awk it makes lines of video, variant, style, z, p, source
# for each test that is over and that winners.tsv (video first) doesn't have yet. Read after
# statistics.awk. Given by -v: shown_min, hours_max.
#
# A test is over when each variant was shown often enough, or after a week; it is judged then and
# never again, because looking again and again finds a winner by chance sooner or later. The best
# variant wins if it is better than both others with p < 0.05, corrected for two comparisons. If
# none does, A stays, and z and p are those of the closest comparison.

BEGIN { FS = OFS = "\t" }
FILENAME ~ /winners\.tsv$/ { judged[$1] = 1; next }
{
  if (!($1 in hours)) videos[++count] = $1
  hours[$1] = $2; source[$1] = $3; style[$1, $4] = $5; shown[$1, $4] = $6; clicks[$1, $4] = $7
}
END { for (i = 1; i <= count; i++) if (!(videos[i] in judged)) judge(videos[i]) }

function rate(video, v) { return shown[video, v] > 0 ? clicks[video, v] / shown[video, v] : 0 }

function judge(video,  k, v, best, least, z) {
  best = "A"
  for (k = 1; k <= 3; k++) {
    v = substr("ABC", k, 1)
    if (!((video, v) in shown)) return
    if (shown[video, v] < shown_min && hours[video] < hours_max) return
    if (rate(video, v) > rate(video, best)) best = v
  }
  least = ""
  for (k = 1; k <= 3; k++) {
    v = substr("ABC", k, 1)
    if (v == best) continue
    z = z_of(clicks[video, best], shown[video, best], clicks[video, v], shown[video, v])
    if (least == "" || z < least) least = z
  }
  p = normal_tail(least)
  printf "%s\t%s\t%s\t%.2f\t%.4f\t%s\n", video, (p < 0.025 ? best : "A"), \
    (p < 0.025 ? style[video, best] : "none"), least, p, source[video]
}
