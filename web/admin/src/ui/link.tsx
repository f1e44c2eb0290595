import { Anchor, Button, type AnchorProps, type ButtonProps } from "@mantine/core";
import { createLink } from "@tanstack/react-router";
import type { AnchorHTMLAttributes, Ref } from "react";

type Attributes = Omit<AnchorHTMLAttributes<HTMLAnchorElement>, "color" | "style" | "href"> & { ref?: Ref<HTMLAnchorElement> };

/** Links into the console, typed by its routes: `<TextLink to="/servers/$server" params={{ server }}>`. */
export const TextLink = createLink((props: AnchorProps & Attributes) => <Anchor inherit {...props} />);
export const ButtonLink = createLink((props: ButtonProps & Attributes) => <Button component="a" {...props} />);
