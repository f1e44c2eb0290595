import { notifications } from "@mantine/notifications";
import { IconAlertTriangle, IconCheck } from "@tabler/icons-react";
import { explain } from "~/api/problem";

const closeButtonProps = { "aria-label": "Dismiss" };

/** Says in the corner how something went. What a person must act on belongs into the page instead. */
export const toast = {
  done(message: string, title?: string) {
    notifications.show({ color: "green", icon: <IconCheck size={16} aria-hidden />, title, message, closeButtonProps });
  },
  problem(error: unknown, title?: string) {
    const { title: what, detail, requestId } = explain(error);
    notifications.show({
      color: "red",
      icon: <IconAlertTriangle size={16} aria-hidden />,
      title: title ?? what,
      message: [detail || what, requestId && `Request ${requestId}`].filter(Boolean).join(" "),
      autoClose: 12_000,
      role: "alert",
      closeButtonProps,
    });
  },
};
