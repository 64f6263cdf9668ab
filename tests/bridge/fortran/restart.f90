! SPDX-License-Identifier: Apache-2.0
!> A host that restarts itself: a run of eight hours, and one of five and three that a restart joins. Both must have
!! the same answers to the last bit; the emulator takes the mean of three hours, so that the cut goes through a window.
!! So must a run whose steps are taken in halves, and one whose answers are late: those of the sixth hour arrive with the
!! seventh.
program restart
   use, intrinsic :: iso_fortran_env, only: real64
   use coupler_plugin, only: coupler_t
   use testing, only: argument, report
   implicit none
   real(real64) :: whole(2), parts(2), halves(2), late(2)

   call run(argument(1), '2001-01-01T00:00', 1, 8, 0, whole)
   call run(argument(2), '2001-01-01T00:00', 1, 5, 5, parts)
   call run(argument(2), '2001-01-01T05:00', 6, 8, 0, parts)
   call run(argument(1), '2001-01-01T00:00', 1, 8, -1, halves)
   call run(argument(3), '2001-01-01T00:00', 1, 8, 0, late)
   call report('halves', all(abs(whole - halves) <= 0.0_real64))
   call report('late', all(abs(whole - late) <= 0.0_real64))
   call report('same', all(abs(whole - parts) <= 0.0_real64))
   call report('moved', all(abs(whole) > 1.0_real64))

contains

   subroutine run(config, start, first, last, demand, answers)
      character(len=*), intent(in) :: config, start
      integer, intent(in) :: first, last, demand
      real(real64), intent(out) :: answers(2)
      real(real64), target :: tas(2), lai(2)
      type(coupler_t) :: coupler
      integer :: hour

      lai = 0.0_real64
      call coupler%init(config, start=start, dt=3600.0_real64)
      call coupler%set_cells([1, 2], [0.0_real64, 1.0_real64], [0.0_real64, 1.0_real64])
      call coupler%bind('tas', tas)
      call coupler%bind('lai', lai)
      do hour = first, last
         tas = 280.0_real64 + sin(real([hour, 2*hour], real64))
         if (demand < 0) then
            call coupler%step_begin()
            tas = -1.0_real64
            call coupler%step_end()
         else
            call coupler%step()
         end if
         if (hour == demand) call coupler%write_restart()
      end do
      call coupler%finalize()
      answers = lai
   end subroutine run
end program restart
