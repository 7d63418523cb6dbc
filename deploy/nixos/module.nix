# Iglu on NixOS: `services.iglu.enable = true;` and a public URL.
{ config, lib, pkgs, ... }:

let
  cfg = config.services.iglu;
  toml = pkgs.formats.toml { };
  settings = toml.generate "iglu.toml" (lib.filterAttrs (_: value: value != null) cfg.settings);
  isInStore = file: file != null && lib.hasPrefix builtins.storeDir file;
  # postgres://user:password@host/database, or ?password=…
  hasPassword = url: url != null && builtins.match "[a-z]+://([^/@]*:[^/@]+@.*|.*[?&]password=.*)" url != null;
  # What the server and the node have in common. Nothing here may cover a part of /proc (ProtectKernelLogs, ProtectKernelTunables,
  # ProtectProc, ProcSubset): runs mount a /proc of their own, which the kernel allows only where the outer one is seen whole.
  hardened = {
    DynamicUser = true;
    StateDirectoryMode = "0700";
    UMask = "0077";
    CapabilityBoundingSet = "";
    NoNewPrivileges = true;
    ProtectSystem = "strict";
    ProtectHome = true;
    PrivateTmp = true;
    ProtectClock = true;
    ProtectKernelModules = true;
    LockPersonality = true;
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
  };
in
{
  options.services.iglu = {
    enable = lib.mkEnableOption "Iglu, a Nix binary cache";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.iglu or (throw "services.iglu.package is not set and pkgs has no iglu; use the overlay of Iglu's flake");
      defaultText = lib.literalExpression "pkgs.iglu";
      description = "The package to run.";
    };

    settings = lib.mkOption {
      default = { };
      description = ''
        Settings by their names in the settings file: see docs/operations/settings.md. Secrets do not belong here, since the Nix
        store is readable for everybody; see `environmentFile`.
      '';
      example = { public_url = "https://cache.example.org"; listen = "[::1]:8080"; };
      type = lib.types.submodule {
        freeformType = toml.type;
        options = {
          public_url = lib.mkOption {
            type = lib.types.str;
            description = "Where people and clients find this server.";
            example = "https://cache.example.org";
          };
          listen = lib.mkOption {
            type = lib.types.str;
            default = "127.0.0.1:8080";
            description = "Address for pages, APIs and caches.";
          };
          ops_listen = lib.mkOption {
            type = lib.types.str;
            default = "127.0.0.1:9464";
            description = "Address for /live, /ready and /metrics.";
          };
        };
      };
    };

    environmentFile = lib.mkOption {
      # No path: Nix would copy what a literal one names into the store, which everybody may read.
      type = lib.types.nullOr lib.types.str;
      default = null;
      description = "File with secrets such as IGLU_DATABASE_URL, IGLU_MASTER_KEY and IGLU_S3_SECRET_ACCESS_KEY, readable by root only.";
      example = "/run/secrets/iglu.env";
    };

    openFirewall = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Whether the port of `settings.listen` is reachable from outside.";
    };

    node = {
      enable = lib.mkEnableOption "a node, which executes runs of builders on this machine";
      server = lib.mkOption {
        type = lib.types.str;
        default = cfg.settings.public_url;
        defaultText = lib.literalExpression "config.services.iglu.settings.public_url";
        description = "The server that it works for.";
      };
      secretFile = lib.mkOption {
        type = lib.types.str;
        description = "File with the secret of `iglu nodes add`.";
        example = "/run/secrets/iglu-node";
      };
      capacity = lib.mkOption {
        type = lib.types.ints.positive;
        default = 1;
        description = "Runs that it takes at a time.";
      };
    };
  };

  config = lib.mkMerge [
    (lib.mkIf cfg.enable {
      assertions = [
        {
          assertion = !(hasPassword (cfg.settings.database_url or null));
          message = "services.iglu.settings.database_url has a password, and the Nix store is readable for everybody: give IGLU_DATABASE_URL in services.iglu.environmentFile";
        }
        {
          assertion = !(isInStore cfg.environmentFile);
          message = "services.iglu.environmentFile is in the Nix store, which is readable for everybody";
        }
      ];
      environment.systemPackages = [ cfg.package ];
      # Where commands on the data find the same settings: docs/operations/nixos.md.
      environment.etc."iglu/iglu.toml".source = settings;
      networking.firewall.allowedTCPPorts =
        lib.optional cfg.openFirewall (lib.toInt (lib.last (lib.splitString ":" cfg.settings.listen)));
      systemd.services.iglu = {
        description = "Iglu, a Nix binary cache";
        wantedBy = [ "multi-user.target" ];
        wants = [ "network-online.target" ];
        after = [ "network-online.target" "postgresql.service" ];
        environment.IGLU_EMBEDDED_NODE = "false";
        serviceConfig = hardened // {
          ExecStart = "${cfg.package}/bin/iglu serve --config ${settings} --data /var/lib/iglu";
          EnvironmentFile = lib.optional (cfg.environmentFile != null) cfg.environmentFile;
          Type = "exec";
          Restart = "always";
          RestartSec = 2;
          TimeoutStopSec = 90;
          LimitNOFILE = 65536;
          StateDirectory = "iglu";
          AmbientCapabilities = "";
          PrivateDevices = true;
          PrivateUsers = true;
          PrivateIPC = true;
          ProtectProc = "invisible";
          ProcSubset = "pid";
          ProtectHostname = true;
          ProtectKernelLogs = true;
          ProtectKernelTunables = true;
          ProtectControlGroups = true;
          DevicePolicy = "closed";
          MemoryDenyWriteExecute = true;
          RemoveIPC = true;
          RestrictAddressFamilies = [ "AF_INET" "AF_INET6" "AF_UNIX" ];
          RestrictNamespaces = true;
          SystemCallFilter = [ "@system-service" "~@privileged @resources" ];
          SystemCallErrorNumber = "EPERM";
        };
      };
    })

    (lib.mkIf cfg.node.enable {
      assertions = [
        {
          assertion = !(isInStore cfg.node.secretFile);
          message = "services.iglu.node.secretFile is in the Nix store, which is readable for everybody";
        }
      ];
      systemd.services.iglu-node = {
        description = "Iglu node, which executes runs of builders";
        wantedBy = [ "multi-user.target" ];
        wants = [ "network-online.target" ];
        after = [ "network-online.target" "iglu.service" ];
        path = [ config.nix.package pkgs.git pkgs.openssh pkgs.bubblewrap ];
        environment.IGLU_NODE_CAPACITY = toString cfg.node.capacity;
        serviceConfig = hardened // {
          ExecStart = "${cfg.package}/bin/iglu node --server ${cfg.node.server} --token-file %d/secret --node-state /var/lib/iglu-node";
          LoadCredential = "secret:${cfg.node.secretFile}";
          StateDirectory = "iglu-node";
          Type = "exec";
          Restart = "always";
          RestartSec = 5;
          RestartPreventExitStatus = 3;
          TimeoutStopSec = 60;
          KillMode = "mixed";
          Delegate = true;
          OOMPolicy = "continue";
        };
      };
    })
  ];
}
