# What the week's numbers say about the rules of the style guide: of published videos and counts
# (audience.awk) it makes lines of rule, old, new, impressions, p, reason. Read after statistics.awk.
# Given by -v: the present rules title_style and words_max, and hours_max: older videos don't count.

BEGIN { FS = OFS = "\t" }
FILENAME ~ /published\.tsv$/ { seconds[$1] = $7; next }
$2 >= 24 && $2 <= hours_max {
  shown[$5] += $6; clicks[$5] += $7
  all_shown += $6
  if (!($1 in seen)) { seen[$1] = 1; videos[++count] = $1; lengths[count] = seconds[$1] }
  viewed[$1] += $7; watched[$1] += $8
}

function rate(style) { return shown[style] > 0 ? clicks[style] / shown[style] : 0 }

function titles(  s, best, z, p) {
  best = title_style
  for (s in shown) if (rate(s) > rate(best)) best = s
  if (best == title_style || !(title_style in shown)) return
  z = z_of(clicks[best], shown[best], clicks[title_style], shown[title_style])
  p = normal_tail(z)
  if (p >= 0.01 || rate(best) < rate(title_style) * 1.05) return
  printf "title_style\t%s\t%s\t%d\t%.5f\t%.2f %% of those who saw a title in style %s clicked, " \
    "%.2f %% with %s\n", title_style, best, shown[best] + shown[title_style], p, \
    rate(best) * 100, best, rate(title_style) * 100, title_style
}

# Do people watch a larger share of the shorter half?
function lengths_of(  middle, i, v, short_share, long_share, short_views, long_views, z, p, next_max) {
  if (count < 8) return
  middle = median(lengths, count)
  for (i = 1; i <= count; i++) {
    v = videos[i]
    if (seconds[v] <= 0) continue
    if (seconds[v] <= middle) { short_share += watched[v] / seconds[v]; short_views += viewed[v] }
    else { long_share += watched[v] / seconds[v]; long_views += viewed[v] }
  }
  if (!short_views || !long_views) return
  z = z_of(short_share, short_views, long_share, long_views)
  p = normal_tail(z)
  if (p >= 0.01) return
  next_max = words_max + (z > 0 ? -20 : 20)
  if (next_max < 260 || next_max > 520) return
  printf "words_max\t%d\t%d\t%d\t%.5f\tthe shorter half was watched to %.0f %%, the longer to %.0f %%\n", \
    words_max, next_max, all_shown, p, short_share * 100 / short_views, long_share * 100 / long_views
}

END { titles(); lengths_of() }
