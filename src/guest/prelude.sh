d=$D
umask 022
mkdir -m 711 "$d"
trap 'rm -rf "$d"' EXIT
z=
command -v setsid >/dev/null && z=setsid
put() {
 head -c "$2" >"$d/$1"
 printf '\036%s<\036%s|\036%s>0 0\n' "$n" "$n" "$n"
}
tail_() {
 printf '\036%s|' "$n"
 [ -s "$d/e" ] && cat "$d/e"
 printf '\036%s>%s %s\n' "$n" "$x" "$k"
}
quick() {
 set -- "$n" "$z"
 printf '\036%s<' "$n"
 eval "$s" </dev/null 2>"$d/e"
 x=$? n=$1 z=$2 d=$D k=0
 tail_
}
full() {
 k=0
 printf '\036%s<' "$n"
 [ -p "$d/o" ] || mkfifo -m 666 "$d/o" "$d/r"
 : >"$d/p"
 [ "$T" ] && printf %s "$T" >"$d/s"
 cat <"$d/o" & O=$!
 { head -c "$L" >"$d/e"; wc -c >"$d/k"; } <"$d/r" & E=$!
 ( exec $z /bin/sh -c "$R" "$d" "$O $E" "$U" ) <"$i" >"$d/o" 2>"$d/r"
 x=$?
 read -r p q <"$d/p"
 echo "0 $O $E" >"$d/p"
 [ "$z" ] && [ "$p" ] && kill -9 "-$p"
 wait "$O" "$E"
 : >"$d/p"
 read -r k <"$d/k"
 : "${k:=0}"
 tail_
}
