# The page of the channel: from lines "winner VIDEO VARIANT" and the published videos, newest first.
# Read after html.awk. The newest sixty have pictures, the others a line each.
BEGIN { shown_max = 60 }
$1 == "winner" { winner[$2] = $3; next }
{
  count++
  video[count] = $1; seconds[count] = $7; kind[count] = $9; title[count] = $11; area[count] = $6
}
END {
  head(channel)
  printf "<p>%d videos</p>\n<ul>\n", count
  for (i = 1; i <= count && i <= shown_max; i++) {
    v = escaped(video[i])
    variant = video[i] in winner ? winner[video[i]] : "A"
    printf "<li><a href=\"videos/%s/index.html\"><img loading=\"lazy\"", v
    printf " src=\"videos/%s/thumbnail-%s.svg\" alt=\"\"><br>%s</a><br>", v, escaped(variant),
      escaped(title[i])
    printf "<small>%s, %d:%02d, %s</small></li>\n", escaped(substr(video[i], 1, 10)),
      seconds[i] / 60, seconds[i] % 60, escaped(area[i])
  }
  print "</ul>"
  if (count > shown_max) print "<h2>Older</h2>\n<table>"
  for (; i <= count; i++)
    printf "<tr><td>%s<td><a href=\"videos/%s/index.html\">%s</a></tr>\n",
      escaped(substr(video[i], 1, 10)), escaped(video[i]), escaped(title[i])
  if (count > shown_max) print "</table>"
  print "</html>"
}
