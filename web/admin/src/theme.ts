import { createTheme, defaultVariantColorsResolver, type CSSVariablesResolver, type MantineColorsTuple, type MantineTheme } from "@mantine/core";

// The colours of the sign-in and consent pages (internal/pages/pages.css), as scales.
const accent: MantineColorsTuple = ["#eef2fc", "#dde5f8", "#c2d0fa", "#a8bcf5", "#839ce3", "#6079c9", "#4561b3", "#2b4796", "#213877", "#182a5b"];
const gray: MantineColorsTuple = ["#f7f8fa", "#f3f4f7", "#e9ebf0", "#e1e4ea", "#c9ced8", "#868f9d", "#6a7484", "#545e6c", "#303742", "#15181e"];
const dark: MantineColorsTuple = ["#e8eaee", "#c5cbd6", "#a2abb9", "#737d8c", "#2f3540", "#262b35", "#1b1f27", "#15181e", "#101217", "#0d0f13"];
const green: MantineColorsTuple = ["#eaf6ee", "#d3ecdc", "#abdcbd", "#83d8a3", "#4fb878", "#2f9659", "#22804a", "#17663a", "#11502d", "#0b3a20"];
const amber: MantineColorsTuple = ["#fdf4e5", "#fae6c5", "#f5d095", "#f0b96f", "#d99a3f", "#b87a1e", "#955d0a", "#7a4600", "#5f3700", "#442700"];
const red: MantineColorsTuple = ["#fdeeed", "#fbdbd9", "#f8bcb8", "#ff9f98", "#ec7a72", "#d4524a", "#bd352d", "#a3211b", "#811813", "#5d100d"];

const onFilled = "light-dark(#ffffff, #0f1526)";
const sm = { "--input-height": "32px", "--input-fz": "var(--mantine-font-size-sm)" };
const overlaid = {
  closeButtonProps: { "aria-label": "Close" },
  overlayProps: { backgroundOpacity: 0.32 },
  transitionProps: { duration: 120 },
  // A dialog's header is no banner of the page.
  attributes: { header: { role: "presentation" } },
};
const field = { defaultProps: { size: "sm" }, vars: () => ({ wrapper: sm }) };

export const theme = createTheme({
  fontFamily: "'Inter Variable', system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif",
  fontFamilyMonospace: "ui-monospace, 'SF Mono', SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace",
  colors: { accent, gray, dark, green, amber, red },
  primaryColor: "accent",
  primaryShade: { light: 7, dark: 3 },
  // Filled is dark under white text by day and light under dark text by night, in every hue.
  variantColorResolver: (input) => {
    const colors = defaultVariantColorsResolver(input);
    return input.variant === "filled" ? { ...colors, color: onFilled } : colors;
  },
  black: "#15181e",
  cursorType: "pointer",
  respectReducedMotion: true,
  defaultRadius: "md",
  radius: { xs: "3px", sm: "5px", md: "7px", lg: "10px", xl: "14px" },
  fontSizes: { xs: "0.75rem", sm: "0.8125rem", md: "0.875rem", lg: "1rem", xl: "1.125rem" },
  spacing: { xs: "8px", sm: "12px", md: "16px", lg: "24px", xl: "32px" },
  headings: {
    fontWeight: "620",
    sizes: {
      h1: { fontSize: "1.3125rem", lineHeight: "1.3" },
      h2: { fontSize: "0.9375rem", lineHeight: "1.4" },
      h3: { fontSize: "0.8125rem", lineHeight: "1.4" },
    },
  },
  // By name rather than with `extend`, which would bring every component into the first load.
  components: {
    ActionIcon: { defaultProps: { variant: "subtle", color: "gray", size: 28 } },
    Alert: { defaultProps: { variant: "light", radius: "lg" } },
    Anchor: { defaultProps: { underline: "hover" } },
    Badge: { defaultProps: { variant: "light", color: "gray", radius: "sm", size: "sm", tt: "none", fw: 550 }, vars: () => ({ root: { "--badge-height": "20px", "--badge-fz": "11.5px", "--badge-padding-x": "7px" } }) },
    Button: {
      defaultProps: { size: "sm" },
      vars: (_theme: MantineTheme, { size }: { size?: string }) => ({
        root: size === "sm" ? { "--button-height": "32px", "--button-fz": "var(--mantine-font-size-sm)", "--button-padding-x": "12px" } : {},
      }),
    },
    Checkbox: { defaultProps: { size: "xs" }, vars: () => ({ root: { "--checkbox-icon-color": onFilled } }) },
    Code: { defaultProps: { fz: "0.92em" } },
    Drawer: { defaultProps: { position: "right", size: "lg", ...overlaid } },
    Input: field,
    // Focus goes to the menu itself: the placeholder that would take it is none that a menu may hold.
    Menu: { defaultProps: { withInitialFocusPlaceholder: false } },
    Loader: { defaultProps: { size: "sm", type: "oval" } },
    Modal: { defaultProps: { centered: true, radius: "lg", ...overlaid } },
    NavLink: { defaultProps: { variant: "subtle" } },
    Paper: { defaultProps: { withBorder: true, radius: "lg" } },
    Radio: { defaultProps: { size: "xs" }, vars: () => ({ root: { "--radio-icon-color": onFilled } }) },
    SegmentedControl: { defaultProps: { size: "xs" } },
    Select: { defaultProps: { size: "sm", checkIconPosition: "right", comboboxProps: { shadow: "md" } } },
    Skeleton: { defaultProps: { radius: "sm" } },
    Switch: { defaultProps: { size: "xs" } },
    Table: { defaultProps: { verticalSpacing: 8, horizontalSpacing: "sm", fz: "sm" } },
    Tabs: { defaultProps: { keepMounted: false } },
    Textarea: { defaultProps: { size: "sm" } },
    TextInput: { defaultProps: { size: "sm" } },
    Tooltip: { defaultProps: { openDelay: 400, transitionProps: { duration: 0 }, events: { hover: true, focus: true, touch: false } } },
  },
});

const hues = { green, amber, red, gray, accent };

/**
 * Mantine's own dimmed, disabled and light-variant colours miss WCAG AA (4.5:1 for text).
 * These meet it on every surface the console has.
 */
export const resolver: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    "--mantine-primary-color-contrast": "#ffffff",
    "--mantine-color-body": "#ffffff",
    "--mantine-color-text": gray[9],
    "--mantine-color-dimmed": gray[7],
    "--mantine-color-placeholder": gray[6],
    "--mantine-color-default-border": gray[3],
    "--mantine-color-default-hover": gray[0],
    "--mantine-color-disabled-color": gray[6],
    "--mantine-color-anchor": accent[7],
    "--mantine-color-error": red[7],
    ...lightVariants((hue) => ({ text: hue[7], fill: hue[0], hover: hue[1] })),
  },
  dark: {
    "--mantine-primary-color-contrast": "#0f1526",
    "--mantine-color-body": dark[7],
    "--mantine-color-text": dark[0],
    "--mantine-color-dimmed": dark[2],
    "--mantine-color-placeholder": "#8b95a4",
    "--mantine-color-default": dark[7],
    "--mantine-color-default-border": dark[4],
    "--mantine-color-default-hover": dark[6],
    "--mantine-color-disabled-color": "#8b95a4",
    "--mantine-color-anchor": accent[3],
    "--mantine-color-error": red[3],
    ...lightVariants((hue) => ({
      text: hue === gray ? dark[1] : hue[3],
      fill: hue === gray ? dark[6] : `color-mix(in srgb, ${hue[5]} 18%, ${dark[7]})`,
      hover: hue === gray ? dark[5] : `color-mix(in srgb, ${hue[5]} 28%, ${dark[7]})`,
    })),
  },
});

function lightVariants(pick: (hue: MantineColorsTuple) => { text: string; fill: string; hover: string }): Record<string, string> {
  return Object.fromEntries(
    Object.entries(hues).flatMap(([name, hue]) => {
      const { text, fill, hover } = pick(hue);
      return [
        [`--mantine-color-${name}-light`, fill],
        [`--mantine-color-${name}-light-hover`, hover],
        [`--mantine-color-${name}-light-color`, text],
        [`--mantine-color-${name}-text`, text],
        [`--mantine-color-${name}-outline`, text],
      ];
    }),
  );
}
