# Draws the frames of a video: of each slide an SVG for people and a picture in XPM for ffmpeg, and
# the list of pictures with their times. Read after pixels.awk. Reads font.txt, then what slides.awk
# made: number, seconds, kind, heading, counter, progress (0 to 1), lines of text joined by "|".
# Given by -v: out (the folder), channel, pictures (1: also draw XPM).

BEGIN {
  width = 640; height = 360
  ground = "#14202b"; paper = "#f3f5f7"; quiet = "#8fa3b3"
  colour["hook"] = "#f2b134"; colour["objectives"] = "#5bb0d9"; colour["idea"] = "#5bb0d9"
  colour["how"] = "#5bb0d9"; colour["example"] = "#69c08a"; colour["mistake"] = "#e2725b"
  colour["fault"] = "#e2725b"; colour["safety"] = "#f2b134"; colour["question"] = "#b48ad6"
  colour["answer"] = "#69c08a"; colour["recap"] = "#5bb0d9"; colour["call"] = "#f2b134"
}

function xpm(file, accent,  i, n, lines) {
  clear()
  box(0, 0, 8, height, "a")
  put(channel, 24, 14, 1, "q")
  put($5, width - 16 - length($5) * 6, 14, 1, "q")
  n = split($7, lines, "|")
  put($4, 24, 40, length($4) > 33 ? 2 : 3, "a")
  for (i = 1; i <= n; i++) put(lines[i], 24, 86 + (i - 1) * 26, 2, "p")
  box(0, height - 6, int(width * $6), 6, "a")
  write_xpm(file, ground, paper, quiet, accent)
}

function svg(file, accent,  i, n, lines) {
  printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\"", width, height > file
  print " font-family=\"monospace\">" > file
  printf "<rect width=\"%d\" height=\"%d\" fill=\"%s\"/>\n", width, height, ground > file
  printf "<rect width=\"8\" height=\"%d\" fill=\"%s\"/>\n", height, accent > file
  printf "<text x=\"24\" y=\"22\" font-size=\"10\" fill=\"%s\">%s</text>\n", quiet,
    escaped(channel) > file
  printf "<text x=\"%d\" y=\"22\" font-size=\"10\" text-anchor=\"end\" fill=\"%s\">%s</text>\n",
    width - 16, quiet, escaped($5) > file
  printf "<text x=\"24\" y=\"60\" font-size=\"%d\" fill=\"%s\">%s</text>\n",
    (length($4) > 33 ? 18 : 26), accent, escaped($4) > file
  n = split($7, lines, "|")
  for (i = 1; i <= n; i++)
    printf "<text x=\"24\" y=\"%d\" font-size=\"18\" fill=\"%s\">%s</text>\n", 100 + (i - 1) * 26,
      paper, escaped(lines[i]) > file
  printf "<rect y=\"%d\" width=\"%d\" height=\"6\" fill=\"%s\"/>\n</svg>\n", height - 6,
    int(width * $6), accent > file
  close(file)
}

{
  FS = "\t"; $0 = $0
  accent = $3 in colour ? colour[$3] : paper
  name = sprintf("%s/%03d", out, $1)
  svg(name ".svg", accent)
  if (pictures) {
    xpm(name ".xpm", accent)
    printf "file '%03d.xpm'\nduration %.3f\n", $1, $2 > (out "/list.txt")
    last = sprintf("%03d.xpm", $1)
  }
}

# ffmpeg's list has the last picture twice, or it would be shown for no time.
END { if (pictures) printf "file '%s'\n", last > (out "/list.txt") }
