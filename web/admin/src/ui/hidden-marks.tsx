import { Fragment } from "react";
import classes from "./hidden-marks.module.css";

/** Characters that people cannot see, and models read: controls, widths of nothing, directions, tags, private use. */
const unseen = /(\[U\+[0-9A-F]{4,6}\])|(\p{Default_Ignorable_Code_Point}|\p{Cf}|\p{Zl}|\p{Zp}|(?![\t\n\r])\p{Cc})/gu;

export const codePoint = (char: string) => `[U+${char.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}]`;

/** Text of somebody else, with what cannot be seen in it written out and marked. */
export function Seen({ text }: { text: string }) {
  const parts = text.split(unseen).filter((part) => part !== undefined && part !== "");
  return parts.map((part, at) => {
    const mark = /^\[U\+[0-9A-F]{4,6}\]$/.test(part) ? part : part.replace(unseen, "") === "" ? codePoint(part) : undefined;
    // Parts of one text have no other identity than their place.
    // oxlint-disable-next-line react/no-array-index-key
    return mark ? <mark key={at} className={classes.mark} title="A character that people cannot see">{mark}</mark> : <Fragment key={at}>{part}</Fragment>;
  });
}
