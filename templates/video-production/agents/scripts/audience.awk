# How often a video was shown and clicked: lines of video, hours since it was published, source,
# variant, style, impressions, clicks, seconds watched. Files: real counts (real.tsv: video, variant,
# impressions, clicks, seconds watched), variants.tsv of all videos (video, variant, style, title),
# the published videos. Given by -v: now (seconds since 1970).
#
# Where there are real counts, they are used, and the source is "counts". Otherwise the numbers come
# from a model of an audience, and the source is "model": nobody has seen these videos. The model is
# a function of the video and its age alone, so it gives the same whenever it is asked, and grows
# with time. It says: impressions approach a limit within a week; the limit depends on format and
# topic; the click rate depends on the style of the title, on its length, and on luck.

BEGIN {
  FS = OFS = "\t"
  for (i = 32; i < 127; i++) code[sprintf("%c", i)] = i
  of_style["plain"] = 1; of_style["question"] = 1.16; of_style["promise"] = 1.06
  of_format["explainer"] = 1.15; of_format["worked-example"] = 1; of_format["mistakes"] = 1.2
  of_format["safety-brief"] = 0.75; of_format["troubleshooting"] = 1.25; of_format["quiz"] = 0.9
}

# luck(TEXT): a number from 0 to 1 that looks like chance and isn't.
function luck(text,  i, h) {
  h = 17
  for (i = 1; i <= length(text); i++) h = (h * 131 + code[substr(text, i, 1)]) % 1000003
  for (i = 0; i < 3; i++) h = (h * 8191 + 12345) % 1000003
  return h / 1000003
}

FILENAME ~ /real\.tsv$/ { real[$1, $2] = $3 OFS $4 OFS $5; next }
FILENAME ~ /variants\.tsv$/ { style[$1, $2] = $3; title[$1, $2] = $4; next }
{
  hours = (now - $2) / 3600
  if (hours < 0) next
  grown = 1 - exp(-hours / 72)
  limit = 13500 * (0.6 + 0.8 * luck($4)) * (0.7 + 0.6 * luck($1)) * ($3 in of_format ? of_format[$3] : 1)
  for (k = 1; k <= 3; k++) {
    v = substr("ABC", k, 1)
    if (!(($1, v) in style)) continue
    if (($1, v) in real) { print $1, int(hours), "counts", v, style[$1, v], real[$1, v]; continue }
    rate = 0.045 * of_style[style[$1, v]] * (0.85 + 0.3 * luck($1 v))
    if (length(title[$1, v]) > 75) rate *= 0.94
    shown = int(limit * grown)
    clicks = int(shown * rate)
    watched = int(clicks * $7 * (0.62 - $7 / 1200 + 0.1 * luck($1 "watch")))
    print $1, int(hours), "model", v, style[$1, v], shown, clicks, watched
  }
}
