# `count` text files and one that names them all: a wide closure without anything to build. Evaluates to the path of the last.
{ count ? 1000, tag ? "one" }:
let
  part = i: builtins.toFile "text-${toString i}-${tag}" "text ${toString i} of ${tag}\n";
in
builtins.toFile "texts-${tag}" (builtins.concatStringsSep "\n" (builtins.genList part count) + "\n")
