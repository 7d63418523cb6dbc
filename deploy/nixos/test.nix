# A machine with Iglu and one that pulls from it: `nix build .#checks.x86_64-linux.nixos`.
{ pkgs, module }:

pkgs.testers.runNixOSTest {
  name = "iglu";
  nodes.server = {
    imports = [ module ];
    services.iglu = {
      enable = true;
      openFirewall = true;
      settings = { public_url = "http://server:8080"; listen = "0.0.0.0:8080"; };
    };
    virtualisation.additionalPaths = [ pkgs.hello ];
  };
  nodes.client.nix.settings.experimental-features = [ "nix-command" ];
  testScript = ''
    server.wait_for_unit("iglu.service")
    server.wait_until_succeeds("curl -sf http://127.0.0.1:9464/ready")
    # As docs/operations/nixos.md says it.
    admin = (
        "systemd-run --pipe --wait --collect -p DynamicUser=yes -p User=iglu -p StateDirectory=iglu -p StateDirectoryMode=0700"
        " -p UMask=0077 iglu --config /etc/iglu/iglu.toml --data /var/lib/iglu admin "
    )
    server.succeed(admin + "cache create main")
    token = server.succeed(admin + "token create ci --cache main --scope push --json | ${pkgs.jq}/bin/jq -r .token").strip()
    key = server.succeed(admin + "cache show main --json | ${pkgs.jq}/bin/jq -r '.public_keys[0]'").strip()
    server.succeed(f"echo 'machine server login x password {token}' > netrc")
    server.succeed("nix --extra-experimental-features nix-command copy --option netrc-file $PWD/netrc --to 'http://server:8080/main' ${pkgs.hello}")
    client.succeed(f"nix copy --from http://server:8080/main --option trusted-public-keys '{key}' ${pkgs.hello}")
    client.succeed("${pkgs.hello}/bin/hello | grep -q Hello")
  '';
}
