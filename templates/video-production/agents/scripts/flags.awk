# Videos that do worse than others of their age: of lines from audience.awk, and of views.tsv (video,
# views, where there are real ones) it makes lines of video, views, median, source. Read after
# statistics.awk. A video is flagged when it has less than half of the median views of those of its
# age (two days to a week, a week to a month), and there are at least five of them.

BEGIN { FS = OFS = "\t" }
FILENAME ~ /views\.tsv$/ { real[$1] = $2; next }
{
  if (!($1 in hours)) videos[++count] = $1
  hours[$1] = $2; views[$1] += $7; source[$1] = $3
}
END {
  for (i = 1; i <= count; i++) if (videos[i] in real) {
    views[videos[i]] = real[videos[i]]; source[videos[i]] = "youtube"
  }
  look(48, 168)
  look(168, 720)
}

function look(from, to,  i, n, list, middle, v) {
  for (i = 1; i <= count; i++) {
    v = videos[i]
    if (hours[v] >= from && hours[v] < to) list[++n] = views[v]
  }
  if (n < 5) return
  middle = median(list, n)
  for (i = 1; i <= count; i++) {
    v = videos[i]
    if (hours[v] >= from && hours[v] < to && views[v] < middle / 2)
      print v, views[v], middle, source[v]
  }
}
