import { Alert, Button, Stack, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconCircleCheck, IconPower } from "@tabler/icons-react";
import { useQueryClient } from "@tanstack/react-query";
import { api, body } from "~/api/client";
import { usePlatformSwitch } from "~/api/safety";
import { exactTime } from "~/lib/time";
import { SwitchDialog } from "~/safety/switch-dialog";
import { ConfirmDialog } from "~/ui/confirm";
import { Facts } from "~/ui/facts";
import { PageHeader } from "~/ui/page-header";
import { Section } from "~/ui/section";
import { Loaded } from "~/ui/states";
import { RelativeTime, TimeLeft } from "~/ui/time";
import { toast } from "~/ui/toast";
import classes from "./switch.module.css";

const word = "switch off everything";

/** The one switch for every tool call of every tenant. */
export function Page() {
  const query = usePlatformSwitch();
  const client = useQueryClient();
  const [asking, ask] = useDisclosure();
  const [lifting, liftDialog] = useDisclosure();
  const refresh = () => client.invalidateQueries({ queryKey: ["platform-switch"] });
  return (
    <>
      <PageHeader title="Kill switch">Stops every tool call of every tenant. Consoles and the API go on, so that people can look and put things right.</PageHeader>
      <Loaded query={query} rows={3}>
        {(s) => (
          <Stack gap="md">
            <div className={classes.state} data-on={s.on || undefined}>
              <span className={classes.icon}>{s.on ? <IconPower size={22} aria-hidden /> : <IconCircleCheck size={22} aria-hidden />}</span>
              <div className={classes.words}>
                <h2>{s.on ? "Every tool call is refused" : "Calls go through"}</h2>
                <Text size="sm">{s.on ? s.reason || "No reason was given." : "Every tenant's calls go through that its own switches, roles and limits let through."}</Text>
              </div>
              {s.on
                ? <Button variant="default" onClick={liftDialog.open}>Lift the switch</Button>
                : <Button color="red" leftSection={<IconPower size={15} aria-hidden />} onClick={ask.open}>Switch off…</Button>}
            </div>
            {s.on && <Facts label="The switch" facts={Object.entries({
              By: s.by,
              Since: s.created_at && <><RelativeTime at={s.created_at} /> <Text span size="xs" c="dimmed">{exactTime(s.created_at)}</Text></>,
              Until: s.expires_at ? <><TimeLeft until={s.expires_at} over="lifting" /> <Text span size="xs" c="dimmed">{exactTime(s.expires_at)}</Text></> : "somebody lifts it",
              "Running calls": s.cancel_running ? "were cancelled" : "were let to end",
            })} />}
            <Section title="What callers see">
              <Text size="sm">An access error that says that the platform is switched off by its operator, and not more: neither the reason nor a time. Agents are told not to try again.</Text>
            </Section>
          </Stack>
        )}
      </Loaded>
      <SwitchDialog
        opened={asking} onClose={ask.close} title="Switch off the whole platform" action="Switch everything off" typed={word}
        onSwitch={async (change) => { await body(api.PUT("/switch", { body: change })); toast.done("Every call is refused within a second."); await refresh(); }}
      >
        <Alert color="red" icon={<IconPower aria-hidden />}>Every tool call of every tenant is refused, of people you have never met. To stop one tenant, suspend it or let its admin use its own switch.</Alert>
      </SwitchDialog>
      <ConfirmDialog
        opened={lifting} onClose={liftDialog.close} title="Lift the switch" action="Let calls through"
        onConfirm={async () => { await body(api.DELETE("/switch")); toast.done("Calls go through again."); await refresh(); }}
      >
        Calls of every tenant go through again within a second.
      </ConfirmDialog>
    </>
  );
}
