# `lib.check`: the whole verdict on a configuration inside of nix's build sandbox, as a pair of derivations.
#
#   report  boots the VM in its build. It succeeds on a pass and on a failure alike, since both say something of the
#           configuration that holds as long as nothing in it changes: report.json, report.txt, exit-code and all
#           evidence are its output. It fails where there is no verdict, so that this is never cached.
#   check   reads that, and fails where the configuration does. It needs no VM, and refers to nothing.
#
# Nothing in here is of nixpkgs: what makes a derivation is handed in, so that the tests can do without.
{
  # NAME ATTRIBUTES SCRIPT: a derivation whose builder is SCRIPT, which any POSIX shell runs with `set -e`.
  runCommand,
  # Has bin/nixbox, which finds by itself what it starts.
  nixbox,
}:
{
  nixosConfiguration,
  # One of its specialisations.
  specialisation ? null,
  # What `[host.NAME]` in nixbox.toml and the report go by; by default `networking.hostName`, with `@` and the name of
  # the specialisation.
  name ? null,
  # What a builder must have. Without "kvm" the machine is emulated, which is several times slower.
  features ? [
    "kvm"
    "nixos-test"
  ],
  # A nixbox.toml. The sandbox has no flake to find it in.
  config ? null,
  # Further arguments of `nixbox try`.
  arguments ? [ ],
  # Leaves out the host's own system, which is built besides since it is what would be switched to.
  vmOnly ? false,
}:
let
  inherit (builtins)
    concatStringsSep
    filter
    isString
    map
    match
    replaceStrings
    split
    toJSON
    ;

  # As `nixbox try` asks for it, but here, where there is nix. What throws ends the evaluation.
  ask =
    want:
    let
      answer = import ../src/nix/machine.nix {
        expectations = import ../src/nix/expectations.nix;
        inherit specialisation want vmOnly;
      } nixosConfiguration;
    in
    if answer ? missing then
      throw "lib.check: there is no such ${answer.missing.kind}; there are: ${concatStringsSep ", " answer.missing.names}"
    else
      answer.${want};
  runner = (ask "runner").out;
  toplevel = ask "toplevel";
  answered = ask "expectations";
  expected = if answered == null then throw "lib.check: this is no NixOS configuration" else answered;

  host = if expected.host_name == null then "nixos" else expected.host_name;
  called =
    if name != null then
      name
    else if specialisation != null then
      "${host}@${specialisation}"
    else
      host;
  # What the name of a store path may not hold is replaced.
  pathName = concatStringsSep "" (
    map (c: if match "[A-Za-z0-9._+-]" c == null then "-" else c) (filter (c: isString c && c != "") (split "" called))
  );

  quote = word: "'${replaceStrings [ "'" ] [ "'\\''" ] word}'";
  # toFile takes no text that depends on a build, and so proves that the expectations do not.
  words = [
    runner
    "--name"
    called
    "--expectations"
    (builtins.toFile "nixbox-expectations.json" (toJSON expected))
  ]
  ++ (
    if config == null then
      [ ]
    else
      [
        "--config"
        "${config}"
      ]
  )
  ++ map toString arguments;

  report =
    runCommand "nixbox-report-${pathName}"
      (
        {
          requiredSystemFeatures = features;
        }
        // (if toplevel == null then { } else { toplevel = toplevel.out; })
      )
      ''
        # Short, since sockets lie below it.
        export HOME="$TMPDIR" XDG_STATE_HOME="$TMPDIR" XDG_CACHE_HOME="$TMPDIR/cache"
        export XDG_CONFIG_HOME="$TMPDIR/config" XDG_DATA_HOME="$TMPDIR/data"
        unset XDG_RUNTIME_DIR
        mkdir -p "$out/nix-support"
        # nix gives a builder a terminal that no user sits at: progress line by line, and of a log's width.
        export TERM=dumb
        code=0
        ${nixbox}/bin/nixbox try ${concatStringsSep " " (map quote words)} \
          --artifacts "$out/artifacts" --report json="$out/report.json" --report human="$out/report.txt" \
          >"$TMPDIR/output" || code=$?
        case $code in
        0 | 1 | 4) cat "$TMPDIR/output" ;;
        *)
          # nix removes the output of a build that fails, but leaves its directory on request.
          mv "$out/artifacts" "$TMPDIR/" || true
          sed "s|$out/|$TMPDIR/|g" "$TMPDIR/output"
          echo "nixbox: no verdict (exit code $code), so that this build fails and is tried again;" \
            "nix build --keep-failed keeps the evidence" >&2
          exit "$code"
          ;;
        esac
        # A check failed, or the guest did not come up. Hydra shows such an output as a failure that has one.
        [ "$code" = 0 ] || echo "$code" >"$out/nix-support/failed"
        echo "$code" >"$out/exit-code"
        {
          echo "file json $out/report.json"
          echo "file txt $out/report.txt"
        } >"$out/nix-support/hydra-build-products"
      '';

  check = runCommand "nixbox-check-${pathName}" { inherit report; } ''
    cat "$report/report.txt" >&2
    read -r code <"$report/exit-code"
    [ "$code" = 0 ] || exit "$code"
    # Not the text: paths in it would keep all of the machine.
    echo pass >"$out"
  '';
in
{
  inherit report check;
}
