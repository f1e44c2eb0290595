import { IconPower } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { usePlatformSwitch, useSwitchesOn } from "~/api/safety";
import { boot } from "~/boot";
import { RelativeTime } from "~/ui/time";
import classes from "./shell.module.css";

/** Over every page while nothing can be called: nobody should look for another reason. */
export const OffBanner = () => (boot.mode === "ops" ? <PlatformOff /> : <TenantOff />);

function TenantOff() {
  const off = useSwitchesOn().data?.data.find((s) => s.kind === "tenant" && s.on);
  if (!off) return null;
  return (
    <Banner to="/switches" title="Every tool is switched off" expires={off.expires_at}>
      by {off.by}, <RelativeTime at={off.created_at} />: {off.reason}
    </Banner>
  );
}

function PlatformOff() {
  const off = usePlatformSwitch().data;
  if (!off?.on) return null;
  return (
    <Banner to="/switch" title="The whole platform is switched off" expires={off.expires_at}>
      {off.by && <>by {off.by}, </>}<RelativeTime at={off.created_at} />{off.reason && `: ${off.reason}`}
    </Banner>
  );
}

function Banner({ to, title, expires, children }: { to: "/switches" | "/switch"; title: string; expires: string | undefined; children: ReactNode }) {
  return (
    <aside className={classes.banner} aria-label="Switched off">
      <IconPower size={17} aria-hidden />
      <span className={classes.bannerWords}><b>{title}</b> {children}{!/[.!?]$/.test(String(title)) && " "}{expires ? <>It lifts itself <RelativeTime at={expires} />.</> : "It stays until somebody lifts it."}</span>
      <Link to={to} className={classes.bannerLink}>{to === "/switch" ? "The switch" : "Kill switches"}</Link>
    </aside>
  );
}
