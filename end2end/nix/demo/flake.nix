{
  description = "a project without inputs, for builders";
  outputs = { self }:
    let
      each = f: builtins.listToAttrs (map (system: { name = system; value = f system; }) [ "x86_64-linux" "aarch64-linux" ]);
      make = system: name: script: extra: derivation ({
        inherit name system;
        builder = "/bin/sh";
        PATH = "/usr/bin:/bin";
        args = [ "-euc" script ];
      } // extra);
    in
    {
      packages = each (system: rec {
        hello = make system "hello-demo" ''
          mkdir -p $out/bin
          cp ${./hello.sh} $out/bin/hello
          chmod +x $out/bin/hello
          echo "built for ${system}"
        '' { };
        report = make system "report-demo" ''
          mkdir $out $doc
          ${hello}/bin/hello > $out/greeting
          echo "$out" > $out/self
          echo "see $out" > $doc/readme
          ln -s ${hello} $out/tool
        '' { outputs = [ "out" "doc" ]; };
        broken = make system "broken-demo" ''echo "about to fail"; echo oops >&2; exit 3'' { };
        # Says when it says it, in milliseconds.
        slow = make system "slow-demo" ''
          for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo "tick $i $(date +%s%3N)"; sleep 1; done
          echo done > $out
        '' { };
        cores = make system "cores-demo" ''echo "cores $NIX_BUILD_CORES"; echo $NIX_BUILD_CORES > $out'' { };
        default = report;
      });
      checks = each (system: {
        smoke = make system "smoke-check" ''
          test "$(${self.packages.${system}.hello}/bin/hello)" = "hello from demo"
          echo ok > $out
        '' { };
      });
    };
}
