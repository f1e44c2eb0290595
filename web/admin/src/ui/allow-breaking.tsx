import { Code, TextInput } from "@mantine/core";
import { useState } from "react";

/** What must be typed before something is published although it breaks who uses it. */
export function useAllowBreaking(name: string) {
  const [text, setText] = useState("");
  return {
    allowed: text.trim() === name,
    field: (
      <TextInput
        autoComplete="off" spellCheck={false} label={<>To publish it although it breaks who uses it, type <Code>{name}</Code></>}
        description="It goes on record. Clients that listed the tools before get errors until they list them again." value={text} onChange={(e) => setText(e.currentTarget.value)}
      />
    ),
  };
}
