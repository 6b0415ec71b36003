(* Matrices: an algebra over the reals with transposition and trace, windows, sums, and a normal form.
   The norms are not here: what is known of them enters each exported statement as hypotheses. *)
From Coq Require Export List Bool Arith.
From dlinear Require Export numbers.
Export ListNotations.

Record algebra := {
  carrier :> Type;
  width : Z;
  mone : carrier;
  madd : carrier -> carrier -> carrier;
  mmul : carrier -> carrier -> carrier;
  scale : R -> carrier -> carrier;
  tsp : carrier -> carrier;
  tr : carrier -> R;
  width_sort : 1 <= IZR width;
  madd_comm : forall x y, madd x y = madd y x;
  madd_assoc : forall x y z, madd x (madd y z) = madd (madd x y) z;
  mmul_assoc : forall x y z, mmul x (mmul y z) = mmul (mmul x y) z;
  mmul_one_l : forall x, mmul mone x = x;
  mmul_one_r : forall x, mmul x mone = x;
  mmul_madd_l : forall x y z, mmul (madd x y) z = madd (mmul x z) (mmul y z);
  mmul_madd_r : forall x y z, mmul x (madd y z) = madd (mmul x y) (mmul x z);
  scale_one : forall x, scale 1 x = x;
  scale_scale : forall a b x, scale a (scale b x) = scale (a * b) x;
  scale_plus : forall a b x, scale (a + b) x = madd (scale a x) (scale b x);
  scale_madd : forall a x y, scale a (madd x y) = madd (scale a x) (scale a y);
  scale_mmul_l : forall a x y, mmul (scale a x) y = scale a (mmul x y);
  scale_mmul_r : forall a x y, mmul x (scale a y) = scale a (mmul x y);
  madd_zero : forall x y, madd x (scale 0 y) = x;
  tsp_tsp : forall x, tsp (tsp x) = x;
  tsp_one : tsp mone = mone;
  tsp_madd : forall x y, tsp (madd x y) = madd (tsp x) (tsp y);
  tsp_mmul : forall x y, tsp (mmul x y) = mmul (tsp y) (tsp x);
  tsp_scale : forall a x, tsp (scale a x) = scale a (tsp x);
  tr_madd : forall x y, tr (madd x y) = tr x + tr y;
  tr_scale : forall a x, tr (scale a x) = a * tr x;
  tr_mmul : forall x y, tr (mmul x y) = tr (mmul y x);
  tr_tsp : forall x, tr (tsp x) = tr x;
  tr_one : tr mone = IZR width
}.
Arguments mone {_}. Arguments madd {_}. Arguments mmul {_}. Arguments scale {_}.
Arguments tsp {_}. Arguments tr {_}.

Declare Scope matrix_scope.
Delimit Scope matrix_scope with M.
Infix "+" := madd : matrix_scope.
Infix "*" := mmul : matrix_scope.
Infix "*:" := scale (at level 40, left associativity) : matrix_scope.
Bind Scope matrix_scope with carrier.

(* ip X Y = tr (X^T Y) *)
Definition ip {A : algebra} (x y : A) : R := tr (tsp x * y)%M.
Definition mzero {A : algebra} : A := scale 0 mone.

(* W(a, b) = (I + D(b-1)) ... (I + D(a)) *)
Fixpoint window_nat {A : algebra} (D : Z -> A) (a : Z) (k : nat) : A :=
  match k with
  | O => mone
  | S k => ((mone + D (a + Z.of_nat k)%Z) * window_nat D a k)%M
  end.
Definition window {A : algebra} (D : Z -> A) (a b : Z) : A := window_nat D a (Z.to_nat (b - a)).

Lemma window_empty {A : algebra} (D : Z -> A) a : window D a a = mone.
Proof. unfold window; now rewrite Z.sub_diag. Qed.
Lemma window_step {A : algebra} (D : Z -> A) a b : IZR a <= IZR b ->
  window D a (b + 1) = ((mone + D b) * window D a b)%M.
Proof.
  intros H; apply le_IZR in H; unfold window.
  replace (Z.to_nat (b + 1 - a)) with (S (Z.to_nat (b - a))) by lia.
  simpl; repeat f_equal; lia.
Qed.

(* Y(a, b) = D(a) + ... + D(b-1) *)
Fixpoint total_nat {A : algebra} (D : Z -> A) (a : Z) (k : nat) : A :=
  match k with
  | O => scale 0 mone
  | S k => (total_nat D a k + D (a + Z.of_nat k)%Z)%M
  end.
Definition total {A : algebra} (D : Z -> A) (a b : Z) : A := total_nat D a (Z.to_nat (b - a)).
Lemma total_empty {A : algebra} (D : Z -> A) a : total D a a = scale 0 mone.
Proof. unfold total; now rewrite Z.sub_diag. Qed.
Lemma total_step {A : algebra} (D : Z -> A) a b : IZR a <= IZR b ->
  total D a (b + 1) = (total D a b + D b)%M.
Proof.
  intros H; apply le_IZR in H; unfold total.
  replace (Z.to_nat (b + 1 - a)) with (S (Z.to_nat (b - a))) by lia.
  simpl; repeat f_equal; lia.
Qed.

(* G(j) = f(0) + ... + f(j-1) *)
Fixpoint sum_nat (f : Z -> R) (k : nat) : R :=
  match k with O => 0 | S k => sum_nat f k + f (Z.of_nat k) end.
Definition sumZ (f : Z -> R) (j : Z) : R := sum_nat f (Z.to_nat j).
Lemma sum_empty f : sumZ f 0 = 0. Proof. reflexivity. Qed.
Lemma sum_step f j : 0 <= IZR j -> sumZ f (j + 1) = sumZ f j + f j.
Proof.
  intros H; apply le_IZR in H; unfold sumZ.
  replace (Z.to_nat (j + 1)) with (S (Z.to_nat j)) by lia.
  simpl; now rewrite Z2Nat.id.
Qed.

(* -- normal form in the free algebra with transposition *)
Inductive mx :=
  | mI | mA (i : nat) | mT (x : mx) | mP (x y : mx) | mX (x y : mx) | mS (r : R) (x : mx).
Definition word := list (nat * bool).

Section Normal.
Context {A : algebra}.
Variable env : list A.
Local Open Scope matrix_scope.

Definition atom (i : nat) : A := nth i env mone.
Fixpoint den (e : mx) : A :=
  match e with
  | mI => mone | mA i => atom i | mT x => tsp (den x) | mP x y => den x + den y
  | mX x y => den x * den y | mS r x => r *: den x
  end.
Definition letter (l : nat * bool) : A := if snd l then tsp (atom (fst l)) else atom (fst l).
Fixpoint denw (w : word) : A := match w with nil => mone | l :: w => letter l * denw w end.
Fixpoint denl (l : list (R * word)) : A :=
  match l with nil => mzero | (r, w) :: l => r *: denw w + denl l end.

Fixpoint same_word (v w : word) : bool :=
  match v, w with
  | nil, nil => true
  | (i, b) :: v, (j, c) :: w => Nat.eqb i j && Bool.eqb b c && same_word v w
  | _, _ => false
  end.
Fixpoint insert (r : R) (w : word) (l : list (R * word)) : list (R * word) :=
  match l with
  | nil => (r, w) :: nil
  | (s, v) :: l => if same_word v w then ((s + r)%R, v) :: l else (s, v) :: insert r w l
  end.
Definition merge_lists (x y : list (R * word)) := fold_right (fun p l => insert (fst p) (snd p) l) x y.
Definition times_word (r : R) (w : word) (l : list (R * word)) :=
  map (fun p => ((r * fst p)%R, w ++ snd p)) l.
Definition product (x y : list (R * word)) :=
  fold_right (fun p l => merge_lists l (times_word (fst p) (snd p) y)) nil x.
Fixpoint nrm (e : mx) (t : bool) : list (R * word) :=
  match e with
  | mI => (1%R, nil) :: nil
  | mA i => (1%R, (i, t) :: nil) :: nil
  | mT x => nrm x (negb t)
  | mP x y => merge_lists (nrm x t) (nrm y t)
  | mX x y => if t then product (nrm y t) (nrm x t) else product (nrm x t) (nrm y t)
  | mS r x => times_word r nil (nrm x t)
  end.

Lemma same_word_eq v : forall w, same_word v w = true -> v = w.
Proof.
  induction v as [|[i b] v IH]; intros [|[j c] w]; simpl; try easy.
  intros H; apply andb_prop in H as [H1 H2]; apply andb_prop in H1 as [H0 H1].
  apply Nat.eqb_eq in H0 as ->; apply eqb_prop in H1 as ->; f_equal; auto.
Qed.
Lemma zero_madd (x : A) : mzero + x = x.
Proof. now rewrite madd_comm; unfold mzero; rewrite madd_zero. Qed.
Lemma scale_zero r : r *: (mzero : A) = mzero.
Proof. unfold mzero; rewrite scale_scale; now rewrite Rmult_0_r. Qed.
Lemma mmul_zero_l (x : A) : mzero * x = mzero.
Proof.
  unfold mzero; rewrite scale_mmul_l, mmul_one_l.
  rewrite <- (zero_madd (0 *: x)); unfold mzero; now rewrite madd_zero.
Qed.
Lemma mmul_zero_r (x : A) : x * mzero = mzero.
Proof.
  unfold mzero; rewrite scale_mmul_r, mmul_one_r.
  rewrite <- (zero_madd (0 *: x)); unfold mzero; now rewrite madd_zero.
Qed.
Lemma tsp_zero : tsp (mzero : A) = mzero.
Proof. unfold mzero; now rewrite tsp_scale, tsp_one. Qed.
Lemma swap (x y z : A) : x + (y + z) = y + (x + z).
Proof. now rewrite !madd_assoc, (madd_comm _ x y). Qed.

Lemma insert_den r w l : denl (insert r w l) = r *: denw w + denl l.
Proof.
  induction l as [|[s v] l IH]; simpl; [easy|].
  destruct (same_word v w) eqn:E; simpl.
  - apply same_word_eq in E as ->; rewrite scale_plus, <- !madd_assoc; apply swap.
  - rewrite IH; apply swap.
Qed.
Lemma merge_den x y : denl (merge_lists x y) = denl x + denl y.
Proof.
  unfold merge_lists; induction y as [|[r w] y IH]; simpl.
  - now rewrite madd_comm, zero_madd.
  - rewrite insert_den, IH; apply swap.
Qed.
Lemma denw_app v w : denw (v ++ w) = denw v * denw w.
Proof. induction v; simpl; [now rewrite mmul_one_l|]. now rewrite IHv, mmul_assoc. Qed.
Lemma times_den r w l : denl (times_word r w l) = r *: (denw w * denl l).
Proof.
  induction l as [|[s v] l IH]; simpl; [now rewrite mmul_zero_r, scale_zero|].
  rewrite IH, denw_app, mmul_madd_r, scale_madd, scale_mmul_r, scale_scale; easy.
Qed.
Lemma product_den x y : denl (product x y) = denl x * denl y.
Proof.
  induction x as [|[r w] x IH]; simpl; [now rewrite mmul_zero_l|].
  rewrite merge_den, times_den, IH, mmul_madd_l, scale_mmul_l; apply madd_comm.
Qed.
Lemma nrm_den e : forall t, denl (nrm e t) = if t then tsp (den e) else den e.
Proof.
  assert (Z : forall x : A, x + mzero = x) by (intros; now rewrite madd_comm, zero_madd).
  induction e; intros t; simpl.
  - rewrite scale_one, Z; destruct t; [now rewrite tsp_one|easy].
  - unfold letter; simpl; rewrite scale_one, mmul_one_r, Z; easy.
  - rewrite IHe; destruct t; simpl; [now rewrite tsp_tsp|easy].
  - rewrite merge_den, IHe1, IHe2; destruct t; [now rewrite tsp_madd|easy].
  - destruct t; rewrite product_den, IHe1, IHe2; [now rewrite tsp_mmul|easy].
  - rewrite times_den, IHe; simpl; rewrite mmul_one_l; destruct t; [now rewrite tsp_scale|easy].
Qed.

Fixpoint all_zero (l : list (R * word)) : Prop :=
  match l with nil => True | (r, _) :: l => r = 0%R /\ all_zero l end.
Lemma all_zero_den l : all_zero l -> denl l = mzero.
Proof.
  induction l as [|[r w] l IH]; simpl; [easy|].
  intros [-> H]; rewrite IH by easy; unfold mzero; now rewrite madd_comm, madd_zero.
Qed.
Lemma cancel (x y : A) : x + (-1) *: y = mzero -> x = y.
Proof.
  intros H; rewrite <- (zero_madd y), <- H, <- madd_assoc.
  replace ((-1) *: y + y) with (mzero : A); [rewrite madd_comm, zero_madd; easy|].
  rewrite <- (scale_one _ y) at 2; rewrite <- scale_plus.
  replace (-1 + 1)%R with 0%R by ring.
  rewrite <- (zero_madd (0 *: y)); unfold mzero; now rewrite madd_zero.
Qed.
Lemma normal_eq x y : all_zero (nrm (mP x (mS (-1) y)) false) -> den x = den y.
Proof.
  intros H; apply cancel; change (den (mP x (mS (-1) y)) = mzero).
  change (den (mP x (mS (-1) y))) with (if false then tsp (den (mP x (mS (-1) y))) else den (mP x (mS (-1) y))).
  rewrite <- nrm_den; now apply all_zero_den.
Qed.

Fixpoint traces (l : list (R * word)) : R :=
  match l with nil => 0%R | (r, w) :: l => (r * tr (denw w) + traces l)%R end.
Lemma traces_den l : tr (denl l) = traces l.
Proof.
  induction l as [|[r w] l IH]; simpl.
  - unfold mzero; rewrite tr_scale; ring.
  - now rewrite tr_madd, tr_scale, IH.
Qed.
Lemma trace_normal e : tr (den e) = traces (nrm e false).
Proof. rewrite <- traces_den, nrm_den; easy. Qed.
Lemma trace_turn v w : tr (denw (v ++ w)) = tr (denw (w ++ v)).
Proof. now rewrite !denw_app, tr_mmul. Qed.
Definition flip (w : word) : word := rev (map (fun l => (fst l, negb (snd l))) w).
Lemma letter_flip l : letter (fst l, negb (snd l)) = tsp (letter l).
Proof. destruct l as [i []]; unfold letter; simpl; [now rewrite tsp_tsp|easy]. Qed.
Lemma denw_flip w : denw (flip w) = tsp (denw w).
Proof.
  unfold flip; induction w as [|l w IH]; [simpl; now rewrite tsp_one|].
  cbn [map rev]; rewrite denw_app, IH; cbn [denw].
  now rewrite tsp_mmul, letter_flip, mmul_one_r.
Qed.
Lemma trace_flip w : tr (denw w) = tr (denw (flip w)).
Proof. now rewrite denw_flip, tr_tsp. Qed.

(* traces up to rotation and transposition: the least word of each class *)
Fixpoint before (v w : word) : bool :=
  match v, w with
  | nil, _ => true
  | _, nil => false
  | (i, b) :: v, (j, c) :: w =>
      if Nat.ltb i j then true else if Nat.ltb j i then false
      else if Bool.eqb b c then before v w else negb b
  end.
Fixpoint least (w : word) (l : list word) : word :=
  match l with nil => w | v :: l => if before w v then least w l else least v l end.
Fixpoint turns (k : nat) (w : word) : list word :=
  match k with
  | O => nil
  | S k => match w with nil => nil | l :: v => (v ++ [l]) :: turns k (v ++ [l]) end
  end.
Definition canon (w : word) : word :=
  least w (turns (length w) w ++ flip w :: turns (length w) (flip w)).
Definition trw (w : word) : R := tr (denw w).
Lemma turns_trace k : forall w v, In v (turns k w) -> trw v = trw w.
Proof.
  induction k; intros [|l w] v; simpl; try easy.
  intros [<-|H].
  - symmetry; apply (trace_turn [l] w).
  - rewrite (IHk _ _ H); symmetry; apply (trace_turn [l] w).
Qed.
Lemma least_in l : forall w, least w l = w \/ In (least w l) l.
Proof.
  induction l as [|v l IH]; intros w; simpl; [now left|].
  destruct (before w v); [destruct (IH w)|destruct (IH v)]; auto.
Qed.
Lemma canon_trace w : trw (canon w) = trw w.
Proof.
  unfold canon; destruct (least_in (turns (length w) w ++ flip w :: turns (length w) (flip w)) w) as [->|H];
    [easy|].
  apply in_app_or in H as [H|[H|H]].
  - now apply turns_trace in H.
  - rewrite <- H; unfold trw; now rewrite <- trace_flip.
  - apply turns_trace in H; rewrite H; unfold trw; now rewrite <- trace_flip.
Qed.
Fixpoint canon_traces (l : list (R * word)) : R :=
  match l with nil => 0%R | (r, w) :: l => (r * trw (canon w) + canon_traces l)%R end.
Lemma trace_canon e : tr (den e) = canon_traces (nrm e false).
Proof.
  rewrite trace_normal; induction (nrm e false) as [|[r w] l IH]; simpl; [easy|].
  now rewrite IH, canon_trace.
Qed.

Lemma trace_nil : trw nil = IZR (width A). Proof. apply tr_one. Qed.

(* -- linear combinations of equations *)
Lemma gap_zero (x y : A) : x = y -> y + (-1) *: x = mzero.
Proof. intros ->; rewrite <- (scale_one _ y) at 1; rewrite <- scale_plus.
  replace (1 + -1)%R with 0%R by ring. rewrite <- (zero_madd (0 *: y)); unfold mzero; now rewrite madd_zero. Qed.
Lemma sandwich (l d r : A) : d = mzero -> l * d * r = mzero.
Proof. intros ->; now rewrite mmul_zero_r, mmul_zero_l. Qed.
Lemma flipped (d : A) : d = mzero -> tsp d = mzero.
Proof. intros ->; apply tsp_zero. Qed.
Lemma plus_mzero (x y : A) : x = mzero -> y = mzero -> x + y = mzero.
Proof. intros -> ->; apply zero_madd. Qed.
Lemma equal_of (x y d : A) : y + (-1) *: x = d -> d = mzero -> x = y.
Proof. intros H E; symmetry; apply cancel; now rewrite H. Qed.
End Normal.

Ltac compute_words :=
  cbv [nrm merge_lists times_word product fold_right map app fst snd insert same_word Nat.eqb Bool.eqb andb
       negb all_zero canon_traces canon least before turns flip rev length Nat.ltb Nat.leb].

(* -- from terms to `mx`, and the two tactics *)
Ltac in_list x l :=
  lazymatch l with nil => constr:(false) | x :: _ => constr:(true) | _ :: ?l => in_list x l end.
Ltac gather e l :=
  lazymatch e with
  | mone => l
  | madd ?x ?y => let l := gather x l in gather y l
  | mmul ?x ?y => let l := gather x l in gather y l
  | scale _ ?x => gather x l
  | tsp ?x => gather x l
  | ?a => lazymatch in_list a l with true => l | false => constr:(a :: l) end
  end.
Ltac index x l :=
  lazymatch l with x :: _ => constr:(O) | _ :: ?l => let i := index x l in constr:(S i) end.
Ltac reify e l :=
  lazymatch e with
  | mone => constr:(mI)
  | madd ?x ?y => let x := reify x l in let y := reify y l in constr:(mP x y)
  | mmul ?x ?y => let x := reify x l in let y := reify y l in constr:(mX x y)
  | scale ?r ?x => let x := reify x l in constr:(mS r x)
  | tsp ?x => let x := reify x l in constr:(mT x)
  | ?a => let i := index a l in constr:(mA i)
  end.
(* equation of matrices in the free algebra *)
Ltac matrix_eq :=
  lazymatch goal with
  | |- @eq ?C ?x ?y =>
      let l := gather x (@nil C) in
      let l := gather y l in
      let p := reify x l in
      let q := reify y l in
      change (den l p = den l q); apply normal_eq; compute_words; repeat split; identity
  end.
(* equation of traces of words in the atoms of a list *)
Ltac trace_eq l :=
  unfold ip;
  repeat lazymatch goal with
  | |- context [tr ?x] => let p := reify x l in change (tr x) with (tr (den l p)); rewrite (trace_canon l p)
  end;
  compute_words; rewrite ?trace_nil; identity.

(* -- what the exported sections use *)
Lemma width_pos {A : algebra} : 0 < IZR (width A).
Proof. pose proof (width_sort A); lra. Qed.
(* the first case whose conditions hold; where two do, they have one value *)
Ltac integers_in E :=
  rewrite <- ?plus_IZR, <- ?minus_IZR, <- ?mult_IZR, <- ?opp_IZR in E; apply eq_IZR in E.
Ltac one_value :=
  match goal with
  | H : ?a <= ?b, G : ?b <= ?a |- _ =>
      let E := fresh in assert (E : a = b) by lra; integers_in E;
      first [now rewrite E | now rewrite <- E]
  | E : ?a = ?b |- _ => integers_in E; first [now rewrite E | now rewrite <- E]
  end.
Ltac cases_of_definition :=
  repeat match goal with
  | |- context [if ?c then _ else _] => destruct c
  end;
  first [reflexivity | exfalso; lra | one_value].
