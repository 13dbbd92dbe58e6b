# The page of one video: from variants.tsv and a description. Read after html.awk.
BEGIN { FS = "\t" }
FILENAME ~ /variants\.tsv$/ { if ($1 == "A") title = $3; next }
{ description = description $0 "\n" }
END {
  head(title)
  printf "<p><a href=\"../../index.html\">%s</a></p>\n", escaped(channel)
  if (kind == "mp4") {
    print "<video controls src=\"video.mp4\" poster=\"thumbnail-A.png\">"
    print "<track default kind=\"captions\" srclang=\"en\" src=\"captions.vtt\"></video>"
  } else
    print "<p><a href=\"storyboard.html\"><img src=\"thumbnail-A.svg\" alt=\"Storyboard\"></a></p>"
  printf "<pre>%s</pre>\n", escaped(description)
  print "<p><a href=\"script.md\">Script</a>, <a href=\"plan.md\">lesson plan</a>,"
  print "<a href=\"review.json\">review</a>, <a href=\"captions.srt\">subtitles</a></p>\n</html>"
}
