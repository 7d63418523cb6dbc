# One store path of `size` bytes that do not compress. Its content differs with every build: what counts is its size.
{ system ? builtins.currentSystem, size, tag ? "one" }:
derivation {
  name = "large-${tag}";
  inherit system;
  builder = "/bin/sh";
  PATH = "/usr/bin:/bin";
  args = [ "-euc" "head -c ${toString size} /dev/urandom > $out" ];
}
