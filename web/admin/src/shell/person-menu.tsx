import { Menu, Text, UnstyledButton, useMantineColorScheme, type MantineColorScheme } from "@mantine/core";
import { IconDeviceDesktop, IconLogout, IconMoon, IconPlugConnected, IconSun } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { meQuery } from "~/api/me";
import { boot } from "~/boot";
import { initials } from "~/lib/words";
import classes from "./shell.module.css";

const schemes = [
  { value: "light", label: "Light", icon: IconSun },
  { value: "dark", label: "Dark", icon: IconMoon },
  { value: "auto", label: "As the system", icon: IconDeviceDesktop },
] as const satisfies { value: MantineColorScheme; label: string; icon: typeof IconSun }[];

export function PersonMenu() {
  const me = useQuery(meQuery).data;
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const name = me?.name || me?.email || "";
  return (
    <Menu width={240} position="bottom-end" shadow="md" transitionProps={{ duration: 0 }}>
      <Menu.Target>
        <UnstyledButton className={classes.person} aria-label={`${initials(name)}: ${name || "you"}, account and theme`}>
          {initials(name)}
        </UnstyledButton>
      </Menu.Target>
      <Menu.Dropdown>
        {me && (
          <Text component="div" px="sm" py={6} size="sm" fw={600} truncate>
            {name}
            {me.name && me.email && <Text size="xs" c="dimmed" fw={400} truncate>{me.email}</Text>}
          </Text>
        )}
        <Menu.Divider />
        <Menu.Label>Theme</Menu.Label>
        {schemes.map(({ value, label, icon: Icon }) => (
          <Menu.Item key={value} role="menuitemradio" aria-checked={colorScheme === value} leftSection={<Icon size={15} aria-hidden />}
            rightSection={colorScheme === value ? "✓" : undefined} onClick={() => setColorScheme(value)}>
            {label}
          </Menu.Item>
        ))}
        <Menu.Divider />
        {boot.mode === "tenant" && (
          <Menu.Item component="a" href={`${boot.base}/connections`} leftSection={<IconPlugConnected size={15} aria-hidden />}>Apps I allowed</Menu.Item>
        )}
        <Menu.Item leftSection={<IconLogout size={15} aria-hidden />} onClick={signOut}>Sign out</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}

/** A form rather than fetch: the server answers with the page to go to, and its cookie with nothing of ours left. */
function signOut() {
  const form = document.createElement("form");
  form.method = "post";
  form.action = `${boot.console}/sign-out`;
  document.body.append(form);
  form.submit();
}
