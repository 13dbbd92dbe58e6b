# Draws a thumbnail: an SVG, and with pictures=1 an XPM beside it. Read after pixels.awk. Reads
# font.txt. Given by -v: out (the file without its ending), words (what it says), small (a line
# beneath), layout (A: band on the left, B: frame, C: band below), pictures.

function wrapped(text, most, lines,  parts, n, i, k) {
  n = split(text, parts, " "); k = 1; lines[1] = ""
  for (i = 1; i <= n; i++) {
    if (lines[k] != "" && length(lines[k]) + length(parts[i]) + 1 > most) lines[++k] = ""
    lines[k] = lines[k] (lines[k] == "" ? "" : " ") parts[i]
  }
  return k
}

function bands() {
  if (layout == "A") box(0, 0, 40, height, "a")
  else if (layout == "B") {
    box(0, 0, width, 12, "a"); box(0, height - 12, width, 12, "a")
    box(0, 0, 12, height, "a"); box(width - 12, 0, 12, height, "a")
  } else box(0, height - 70, width, 70, "a")
}

function svg(file,  i) {
  printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\"", width, height > file
  print " font-family=\"monospace\" font-weight=\"bold\">" > file
  printf "<rect width=\"%d\" height=\"%d\" fill=\"%s\"/>\n", width, height, ground > file
  if (layout == "A")
    printf "<rect width=\"40\" height=\"%d\" fill=\"%s\"/>\n", height, accent > file
  else if (layout == "B")
    printf "<rect x=\"6\" y=\"6\" width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"%s\" " \
      "stroke-width=\"12\"/>\n", width - 12, height - 12, accent > file
  else
    printf "<rect y=\"%d\" width=\"%d\" height=\"70\" fill=\"%s\"/>\n", height - 70, width,
      accent > file
  for (i = 1; i <= n; i++)
    printf "<text x=\"70\" y=\"%d\" font-size=\"%d\" fill=\"%s\">%s</text>\n",
      70 + i * size * 10, size * 10, paper, escaped(lines[i]) > file
  printf "<text x=\"70\" y=\"%d\" font-size=\"20\" fill=\"%s\">%s</text>\n</svg>\n", height - 26,
    (layout == "C" ? ground : quiet), escaped(small) > file
  close(file)
}

BEGIN { width = 640; height = 360 }

END {
  ground = "#14202b"; paper = "#f3f5f7"; quiet = "#8fa3b3"
  accent = layout == "A" ? "#5bb0d9" : layout == "B" ? "#f2b134" : "#69c08a"
  size = 5
  n = wrapped(words, 17, lines)
  if (n > 4) { split("", lines); size = 4; n = wrapped(words, 22, lines) }
  svg(out ".svg")
  if (!pictures) exit
  clear()
  bands()
  for (i = 1; i <= n; i++) put(lines[i], 70, 40 + (i - 1) * size * 10, size, "p")
  if (layout == "C") under = "a"
  put(small, 70, height - 42, 2, layout == "C" ? " " : "q")
  write_xpm(out ".xpm", ground, paper, quiet, accent)
}
