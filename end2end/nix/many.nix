# `count` small store paths and one on top that refers to all of them. Every tenth refers to the one before it,
# so that the closure has some depth and not only width.
{ system ? builtins.currentSystem, count ? 124, tag ? "one" }:
let
  part = i: derivation {
    name = "part-${toString i}-${tag}";
    inherit system;
    builder = "/bin/sh";
    args = [
      "-euc"
      "echo part ${toString i} ${if i > 0 && builtins.substring (builtins.stringLength (toString i) - 1) 1 (toString i) == "0" then "after ${part (i - 1)}" else ""} > $out"
    ];
  };
in
derivation {
  name = "many-${tag}";
  inherit system;
  builder = "/bin/sh";
  args = [ "-euc" "echo ${builtins.concatStringsSep " " (map (i: "${part i}") (builtins.genList (i: i) count))} > $out" ];
}
