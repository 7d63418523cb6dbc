# Attributes of a file, for builders that name one.
let
  make = name: script: derivation {
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    PATH = "/usr/bin:/bin";
    args = [ "-euc" script ];
  };
in
rec {
  one = make "one" "echo one > $out";
  two = make "two" "cat ${one} > $out; echo two >> $out";
}
